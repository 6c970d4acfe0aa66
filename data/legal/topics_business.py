"""Contracts between businesses: services, limits of liability, termination, events beyond control."""

from content import Template, Topic

SERVICES = Topic(
    name="services",
    document="service agreement",
    train=[
        Template(
            """
            {company} (the "Supplier") shall provide the cleaning services described in Schedule 1 at the Customer's
            site in {city} between {opens} and {closes} on every working day. The Customer shall pay a fixed fee of
            {fee} per month within {days} days of the date of a valid invoice. If the Supplier misses more than {misses}
            visits in a calendar month, the Customer may deduct {ded} for each further missed visit. No deduction
            applies where the Customer has denied access to the site.
            """,
            """
            Summary: {company} cleans the customer's site in {city} every working day for a fixed monthly fee.
            Who: {company} is the supplier; the customer is not named.
            Must: The supplier cleans between {opens} and {closes}; the customer pays {fee} a month within {days} days
                of the invoice date.
            Unless: There is no deduction if the customer denied access.
            Watch out: Beyond {misses} missed visits in a month, each one costs the supplier {ded}.
            """,
            {
                "city": ["Norwich", "Swansea", "Derby", "Perth"],
                "opens|closes": ["6 p.m.|9 p.m.", "5 a.m.|7 a.m.", "7 p.m.|10 p.m.", "4 p.m.|6 p.m."],
                "fee|ded": ["£1,260|£55", "£940|£40", "£2,180|£95", "£1,575|£70"],
                "days": ["14", "21", "30", "45"],
                "misses": ["2", "3", "4", "5"],
            },
        ),
        Template(
            """
            The Provider shall keep the Platform available for at least {pct}% of each calendar month. Where
            availability falls below that level, the Provider shall credit the Customer with {credit}% of the monthly
            charge for every full hour of excess downtime, up to {cap}% of that charge. Credits must be claimed in
            writing within {days} days of the end of the month concerned and are the Customer's sole remedy. Maintenance
            announced {hours} hours in advance does not count as downtime.
            """,
            """
            Summary: The platform has a guaranteed availability, and the customer gets credit when it falls short.
            Who: The provider runs the platform; the customer uses it.
            Must: The provider keeps it available {pct}% of each month or credits {credit}% of the monthly charge per
                excess hour, up to {cap}%.
            Unless: Maintenance announced {hours} hours ahead is not downtime.
            Watch out: A credit not claimed in writing within {days} days is lost.
            """,
            {
                "pct": ["99.5", "99.8", "99.9"],
                "credit|cap": ["2|20", "3|30", "5|50"],
                "days": ["15", "20", "30"],
                "hours": ["24", "48", "72"],
            },
        ),
        Template(
            """
            {company} shall deliver each Milestone on the date stated in the Project Plan. {company2}, as client, shall
            test it within {days} working days and shall either confirm acceptance or give written notice of the defects
            found. If {company2} does neither, the Milestone is deemed accepted and the instalment of {fee} becomes
            payable. Defects of a merely cosmetic nature are no ground for refusing acceptance, but {company} shall
            correct them within {weeks} weeks.
            """,
            """
            Summary: Work is delivered in stages that the client tests and then accepts or rejects.
            Who: {company} does the work; {company2} is the client.
            Must: {company2} tests each stage within {days} working days; {company} delivers on the planned dates and
                corrects cosmetic defects within {weeks} weeks.
            Unless: Cosmetic defects do not justify a refusal.
            Watch out: If the client stays silent, the stage counts as accepted and {fee} is payable.
            """,
            {"days": ["5", "8", "10"], "fee": ["€18,000", "€24,500", "€9,600"], "weeks": ["2", "3", "4"]},
        ),
    ],
    heldout=[
        Template(
            """
            The Adviser bills its time at £145 per hour, in units of 15 minutes, and sends {company} a detailed account
            on the last Friday of every month. Travel by rail is refunded at cost against tickets; overnight stays are
            refunded up to £120 each. Work beyond 40 hours in a month requires an e-mail from the project lead, failing
            which it remains unpaid.
            """,
            """
            Summary: The adviser is paid by the hour and gets travel costs back.
            Who: {company} receives the advice; the adviser bills for it.
            Must: {company} pays £145 per hour, rail tickets at cost and up to £120 per overnight stay; the adviser
                accounts on the last Friday of every month.
            Unless: None stated.
            Watch out: More than 40 hours in a month go unpaid without an e-mail from the project lead.
            """,
        ),
    ],
)

LIABILITY_CAP = Topic(
    name="liability_cap",
    document="contract",
    train=[
        Template(
            """
            Subject to clause {clause}, the total liability of {company} to the Customer under or in connection with
            this Agreement, whether in contract, tort or otherwise, shall not exceed {cap} in any Contract Year.
            {company} shall not be liable for loss of profit, loss of data or any indirect loss. Nothing in this
            Agreement limits liability for death or personal injury caused by negligence or for fraud. Claims must be
            notified within {months} months of the event giving rise to them.
            """,
            """
            Summary: The clause limits what {company} can owe the customer in a year.
            Who: {company} is protected by the limit; the customer is bound by it.
            Must: {company} pays at most {cap} per contract year; the customer notifies claims within {months} months of
                the event.
            Unless: The limit does not cover fraud, or death and injury caused by negligence.
            Watch out: Lost profit, lost data and indirect loss are not compensated at all.
            """,
            {
                "clause": ["9.4", "12.2", "14.1", "17.3"],
                "cap": ["£100,000", "£250,000", "£75,000", "£500,000"],
                "months": ["3", "6", "9", "12"],
            },
        ),
        Template(
            """
            The Contractor's liability for delay is limited to liquidated damages of {rate} for each full week of delay,
            up to a maximum of {max}. Once that maximum is reached, the Employer may terminate the contract by written
            notice, but shall have no further claim for delay. Damages are payable within {days} days of the Employer's
            demand and may be set off against sums due. The limits in this clause do not apply where the delay was
            caused wilfully.
            """,
            """
            Summary: A late contractor pays a fixed sum per week, up to a maximum.
            Who: The contractor carries out the work; the employer orders it.
            Must: The contractor pays {rate} per full week of delay, up to {max}, within {days} days of a demand.
            Unless: The limits fall away if the delay was caused on purpose.
            Watch out: Past the maximum, the employer can only end the contract and gets no more money for delay.
            """,
            {
                "rate|max": ["€4,000|€40,000", "€7,500|€60,000", "€12,000|€120,000"],
                "days": ["14", "21", "28"],
            },
        ),
        Template(
            """
            Each party's aggregate liability shall be limited to {pct} per cent of the fees paid or payable in the
            {months} months before the claim arose, or {floor}, whichever is the greater. The limit for breaches of the
            data protection clause is {data}. The Customer's duty to pay the fees, and either party's liability for
            wilful misconduct, are unlimited. The parties confirm that the fees have been set in reliance on this clause
            and that each has taken out insurance accordingly.
            """,
            """
            Summary: Both sides cap their liability by the fees, with a separate cap for data protection.
            Who: The customer pays the fees; the other party is not named.
            Must: Each side answers for at most {pct} per cent of {months} months' fees or {floor}, whichever is
                greater, and {data} for data protection breaches.
            Unless: Wilful misconduct and the duty to pay fees have no cap.
            Watch out: The cap moves with the fees and does not follow the actual loss.
            """,
            {
                "pct": ["100", "125", "150"],
                "months": ["6", "12", "18"],
                "floor|data": ["£200,000|£1,000,000", "£50,000|£300,000", "£80,000|£500,000"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Goods stored in the warehouse of {company} remain at the depositor's risk. Where the warehouse keeper is at
            fault, compensation is confined to €8 per kilogram and to €25,000 for any single incident. A depositor
            wishing for higher cover may declare a value in advance and shall then pay a surcharge of 2 per cent on the
            storage fee. Neither ceiling applies to theft by the warehouse keeper's own staff.
            """,
            """
            Summary: Stored goods are at the depositor's own risk, and compensation is limited.
            Who: {company} keeps the warehouse; the depositor stores goods there.
            Must: A warehouse keeper at fault pays up to €8 per kilogram and €25,000 per incident; for higher cover the
                depositor declares a value and pays a 2 per cent surcharge.
            Unless: Theft by the keeper's own staff has no ceiling.
            Watch out: Without fault of the keeper, the depositor gets nothing.
            """,
        ),
    ],
)

TERMINATION = Topic(
    name="termination",
    document="agreement",
    train=[
        Template(
            """
            Either {company} or {company2} may terminate this Agreement at any time by giving not less than {days} days'
            written notice. Either of them may terminate with immediate effect if the other commits a material breach
            and fails to remedy it within {cure} days of a written request, or becomes insolvent. On termination, for
            whatever reason, all sums then outstanding become due at once, and each party shall return the other's
            property within {ret} days.
            """,
            """
            Summary: Either company can leave the agreement with notice, or at once in serious cases.
            Who: {company} and {company2} are the parties, with equal rights.
            Must: The party that leaves gives {days} days' written notice; afterwards each returns the other's property
                within {ret} days.
            Unless: No notice period applies after insolvency or a material breach not fixed within {cure} days of a
                request.
            Watch out: All open sums fall due at once when the agreement ends.
            """,
            {
                "days": ["30", "60", "90", "120"],
                "cure": ["10", "14", "20", "28"],
                "ret": ["5", "7", "15", "21"],
            },
        ),
        Template(
            """
            The Customer may cancel the Contract for convenience with effect from the end of any calendar quarter,
            provided that it gives {months} months' prior notice and pays a termination fee of {fee} for each month of
            the Initial Term then remaining. The Initial Term ends on {date}. No termination fee is payable if the
            Supplier has increased its charges by more than {pct} per cent within the preceding year and notice is given
            within {weeks} weeks of that increase.
            """,
            """
            Summary: The customer can cancel early at the end of a quarter, for a fee.
            Who: The customer may cancel; the supplier receives the fee.
            Must: The customer gives {months} months' notice and pays {fee} for every month left until {date}.
            Unless: No fee is due after a price rise above {pct} per cent, if notice follows within {weeks} weeks.
            Watch out: The earlier the customer cancels, the more it pays.
            """,
            {
                "months": ["2", "3", "6"],
                "fee": ["£400", "£650", "£1,100"],
                "date": ["31 December 2028", "30 June 2029", "31 March 2030"],
                "pct": ["5", "8", "10"],
                "weeks": ["4", "7", "9"],
            },
        ),
        Template(
            """
            Upon expiry or termination the Supplier shall, at the Customer's request, continue the Services for a
            transition period of up to {months} months at the charges then in force, and shall hand over all records in
            a commonly used format within {days} days. Assistance beyond {hours} hours shall be charged at {rate} per
            hour.  Confidentiality and payment obligations survive termination.
            """,
            """
            Summary: When the contract ends, the supplier helps the customer to move on.
            Who: The supplier gives the help; the customer asks and pays for it.
            Must: The supplier carries on for up to {months} months on request and hands over all records within {days}
                days; the customer pays the usual charges.
            Unless: None stated.
            Watch out: Assistance beyond {hours} hours costs {rate} per hour.
            """,
            {
                "months": ["3", "4", "6"],
                "days": ["10", "15", "20"],
                "hours": ["25", "40", "80"],
                "rate": ["£95", "£120", "£140"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Membership of the studio run by {company} lasts 12 months. A member who moves more than 35 kilometres away,
            or who can show a medical certificate of lasting illness, may leave at the end of the following month; the
            request goes to the front desk together with proof. All others stay bound to the end of the year and owe the
            monthly fee of €46 throughout. The studio may exclude a member at once for violence or theft.
            """,
            """
            Summary: A studio membership runs for 12 months and can be left early only because of distance or illness.
            Who: {company} runs the studio; members pay to use it.
            Must: Members pay €46 a month and hand a request to leave, with proof, to the front desk.
            Unless: Moving over 35 kilometres away or lasting illness frees a member after the following month.
            Watch out: Violence or theft leads to exclusion without delay.
            """,
        ),
    ],
)

FORCE_MAJEURE = Topic(
    name="force_majeure",
    document="contract",
    train=[
        Template(
            """
            Neither party shall be liable for any failure or delay in performance caused by an event beyond its
            reasonable control, including war, epidemic, flood or the act of a public authority. The affected party
            shall notify the other within {days} days of the start of the event, and shall use reasonable efforts to
            limit its effect. If the event lasts for more than {months} months, either party may terminate on {notice}
            days' notice. Shortage of money is not such an event.
            """,
            """
            Summary: A party stopped by an outside event is excused while the event lasts.
            Who: Both parties; either can be the affected one.
            Must: The affected party tells the other within {days} days of the start and tries to limit the effect.
            Unless: Shortage of money is no excuse.
            Watch out: Once the event has lasted more than {months} months, either side can end the contract on {notice}
                days' notice.
            """,
            {
                "days": ["3", "5", "7", "10"],
                "months": ["2", "4", "6", "8"],
                "notice": ["14", "21", "30", "45"],
            },
        ),
        Template(
            """
            If {company} is prevented from delivering {goods} by strike, fire or breakdown of machinery, the delivery
            dates shall be extended by the length of the interruption, up to {weeks} weeks. {company} shall inform
            {company2} without delay and shall divide its remaining output fairly among its customers. {company2} may
            buy elsewhere during the interruption, and its minimum purchase of {qty} tonnes a year is reduced
            accordingly. A strike confined to the staff of {company} does not count.
            """,
            """
            Summary: If {company} cannot deliver {goods}, it gets more time and its buyer may buy elsewhere.
            Who: {company} supplies the goods; {company2} buys them.
            Must: {company} informs {company2} without delay and shares its output fairly; {company2} buys {qty} tonnes
                a year, or less after an interruption.
            Unless: A strike only among the supplier's own staff does not count.
            Watch out: The extra time ends after {weeks} weeks.
            """,
            {
                "goods": ["malt", "recycled glass", "wood pellets"],
                "weeks": ["6", "8", "12"],
                "qty": ["350", "600", "1,200"],
            },
        ),
        Template(
            """
            Should the Venue be closed by order of an authority, {company} shall offer the Client a new date within
            {months} months of the original event on {date}. If no such date can be agreed, {company} shall refund the
            hire charge of {fee}, less expenses already reasonably incurred, which shall not exceed {cap}. Closure
            because of the Client's own breach of safety rules gives no right to a new date or to a refund. Catering
            orders are governed by a separate contract.
            """,
            """
            Summary: If an authority closes the venue, the client gets a new date or most of the money back.
            Who: {company} hires out the venue; the client booked it for {date}.
            Must: {company} offers a date within {months} months or, failing agreement, refunds {fee} less expenses of
                up to {cap}.
            Unless: A closure caused by the client's breach of safety rules gives no rights.
            Watch out: Catering orders are not covered here.
            """,
            {
                "months": ["9", "12", "15"],
                "date": ["6 June 2026", "12 September 2026", "20 March 2027"],
                "fee|cap": ["£2,800|£350", "£4,100|£500", "£1,950|£200"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Where low water on the river halts inland shipping for 7 days running, {company}, as carrier, is released
            from its timetable and may forward the containers by rail. The added freight is carried by {company2}, as
            shipper, up to €95 per container and by the carrier above that. Perishable cargo enjoys priority. The
            carrier loses these rights if it has not published the water level on its website each morning by 8 a.m.
            """,
            """
            Summary: When low water stops the ships, the carrier may drop its timetable and send containers by rail.
            Who: {company} is the carrier and {company2} the shipper.
            Must: After 7 days without shipping, {company2} pays added freight up to €95 per container and {company} the
                rest; perishable cargo goes first.
            Unless: The carrier loses these rights if the water level was not online each morning by 8 a.m.
            Watch out: Up to that sum, the shipper alone bears the added freight.
            """,
        ),
    ],
)

TOPICS = [SERVICES, LIABILITY_CAP, TERMINATION, FORCE_MAJEURE]
