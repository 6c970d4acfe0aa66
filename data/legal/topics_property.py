"""Leases of homes and of business premises."""

from content import Template, Topic

TENANCY = Topic(
    name="tenancy",
    document="tenancy agreement",
    train=[
        Template(
            """
            The Tenant, {person}, shall pay to the Landlord, {company}, a rent of {rent} per calendar month, in advance
            and by standing order, on the {day} day of each month. On signing this Agreement the Tenant shall also pay a
            deposit of {deposit}, which the Landlord shall register with an authorised scheme within {days} days of
            receipt. No rent shall fall due for any period in which the Property is unfit for habitation owing to fire
            or flood not caused by the Tenant.
            """,
            """
            Summary: The tenant pays monthly rent and a deposit that the landlord must register.
            Who: {company} is the landlord; {person} is the tenant.
            Must: The tenant pays {rent} in advance on the {day} day of each month and a deposit of {deposit} on
                signing; the landlord registers it within {days} days.
            Unless: No rent is due while fire or flood makes the property unfit to live in.
            Watch out: That relief is lost if the tenant caused the fire or flood.
            """,
            {
                "rent|deposit": ["£1,150|£1,325", "£980|£1,130", "£1,420|£1,635", "£865|£995"],
                "day": ["1st", "5th", "10th", "15th"],
                "days": ["14", "21", "28", "30"],
            },
        ),
        Template(
            """
            The Landlord shall keep in repair the structure and exterior of the Property and the installations for
            water, gas and heating. The Tenant shall report any defect in writing within {report} days of noticing it
            and shall pay for damage caused by the Tenant or by visitors, fair wear and tear excepted. The Landlord or
            its agents may enter to inspect or repair on not less than {hours} hours' written notice, save in an
            emergency, when no notice is required.
            """,
            """
            Summary: The landlord repairs the building and its main services, while the tenant reports faults and pays
                for damage.
            Who: The landlord lets the property; the tenant rents it.
            Must: The landlord repairs structure, exterior, water, gas and heating and gives {hours} hours' written
                notice of visits; the tenant reports defects in writing within {report} days.
            Unless: Fair wear is not charged, and an emergency visit needs no notice.
            Watch out: The tenant also pays for damage done by visitors.
            """,
            {"hours": ["24", "48", "36"], "report": ["3", "5", "7"]},
        ),
        Template(
            """
            Either party may end this tenancy before the fixed term expires on {end} by giving the other at least
            {months} months' notice in writing, provided that such notice does not take effect earlier than {earliest}.
            If the Tenant leaves without giving proper notice, the Tenant shall remain liable for the rent of {rent} per
            month until the expiry of the notice period or until the Property is let again, whichever is the earlier.
            """,
            """
            Summary: Landlord and tenant can both end the tenancy early, but only with written notice.
            Who: The landlord lets the property; the tenant pays {rent} a month.
            Must: Whoever ends it before {end} gives at least {months} months' notice, taking effect no earlier than
                {earliest}.
            Unless: A tenant who leaves without proper notice owes rent only until a new letting, if that comes first.
            Watch out: Leaving without notice keeps the rent running for an empty home.
            """,
            {
                "earliest|end": [
                    "1 October 2026|31 March 2027",
                    "15 January 2027|14 July 2027",
                    "1 May 2026|31 October 2026",
                ],
                "months": ["2", "3", "4"],
                "rent": ["€790", "€1,040", "€1,215"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            {person} (the "Tenant") may keep one dog or one cat at the Premises only with the prior written consent of
            {company} (the "Landlord"). The Tenant shall have the carpets cleaned by a professional firm at the end of
            the tenancy and shall produce the receipt within 10 days. A request for consent shall be treated as granted
            where the Landlord has not answered it within 28 days, unless the head lease of the building forbids
            animals.
            """,
            """
            Summary: A dog or cat may live at the premises only if the landlord has agreed in writing.
            Who: {company} lets the premises to {person}, the tenant.
            Must: When the tenancy ends, the tenant has the carpets professionally cleaned and shows the receipt within
                10 days.
            Unless: Permission counts as given after 28 days of silence, provided the head lease does not forbid
                animals.
            Watch out: Bringing the animal before permission is given breaks the clause.
            """,
        ),
    ],
)

COMMERCIAL_LEASE = Topic(
    name="commercial_lease",
    document="lease of our business premises",
    train=[
        Template(
            """
            The Tenant shall pay to {company} (the "Landlord") a fair proportion of the cost of heating, cleaning and
            insuring the Building, by quarterly instalments on account of {amount} each, falling due on 25 March, 24
            June, 29 September and 25 December. Within {months} months of each year end the Landlord shall supply a
            certified statement of the actual cost, and any balance shall be paid or credited within {days} days. The
            Tenant shall not be required to contribute to structural repairs.
            """,
            """
            Summary: The tenant shares the building's running costs through quarterly advance payments.
            Who: {company} is the landlord; the tenant is not named.
            Must: The tenant pays {amount} on each of 25 March, 24 June, 29 September and 25 December; the landlord
                sends a certified cost statement within {months} months of each year end.
            Unless: The tenant does not contribute to structural repairs.
            Watch out: If the actual cost is higher, the difference is due within {days} days.
            """,
            {
                "amount": ["£2,400", "£3,150", "£1,875", "£4,260"],
                "months": ["3", "4", "5", "6"],
                "days": ["14", "21", "28", "30"],
            },
        ),
        Template(
            """
            The annual rent of {rent} shall be reviewed with effect from {date} and shall from that date be the open
            market rent, as agreed between {company} as landlord and {company2} as tenant or, failing agreement by
            {deadline}, as determined by an independent surveyor acting as an expert. The reviewed rent shall in no case
            be less than the rent payable immediately before the review. The surveyor's fees shall be borne in equal
            shares.
            """,
            """
            Summary: On {date} the yearly rent moves to the market level, but it can never go down.
            Who: {company} is the landlord and {company2} the tenant.
            Must: The parties agree the new rent by {deadline} and, if a surveyor is needed, share the fees equally.
            Unless: Without an agreement, an independent surveyor sets the rent.
            Watch out: The tenant goes on paying at least the present {rent} even if market rents drop.
            """,
            {
                "date|deadline": [
                    "1 June 2027|1 April 2027",
                    "29 September 2028|30 June 2028",
                    "1 January 2029|1 October 2028",
                ],
                "rent": ["£48,000", "£62,500", "£35,750"],
            },
        ),
        Template(
            """
            The Tenant shall not assign or sublet the whole or any part of the Premises without the written consent of
            the Landlord, which shall not be unreasonably withheld. A request for consent must be accompanied by {years}
            years' audited accounts of the proposed occupier, and the Landlord shall reply within {days} days of
            receiving it. The Tenant shall pay the Landlord's reasonable legal costs of each request up to {cap},
            whether or not consent is given.
            """,
            """
            Summary: The tenant may pass on or sublet the premises only with the landlord's written consent.
            Who: The tenant asks for consent; the landlord decides.
            Must: The tenant sends {years} years' audited accounts of the new occupier and pays legal costs up to {cap};
                the landlord replies within {days} days and may not refuse unreasonably.
            Unless: None stated.
            Watch out: The tenant pays the legal costs even when consent is refused.
            """,
            {"years": ["2", "3", "4"], "days": ["15", "20", "30"], "cap": ["£750", "£1,200", "£1,500"]},
        ),
    ],
    heldout=[
        Template(
            """
            On or before 30 September 2029 {company2}, as tenant, shall remove all partitions, signs and cabling which
            it has installed in Unit 6 and shall hand the unit back to {company}, as landlord, in the condition recorded
            in the photographic schedule. Should the tenant fail to do so, the landlord may carry out the work itself
            and recover the expense, together with £410 for every day on which the unit cannot be let. Items listed in
            Annex B may remain.
            """,
            """
            Summary: The tenant has to clear out what it installed and give Unit 6 back in its recorded condition.
            Who: {company2} is the tenant of {company}, the landlord.
            Must: By 30 September 2029 the tenant removes its partitions, signs and cabling and hands the unit back.
            Unless: Items listed in Annex B may stay.
            Watch out: If the work is left undone, the tenant owes its cost plus £410 for every day without a letting.
            """,
        ),
    ],
)

TOPICS = [TENANCY, COMMERCIAL_LEASE]
