"""Loans, insurance, and the settling of disputes."""

from content import Template, Topic

LOAN_COVENANT = Topic(
    name="loan_covenant",
    document="loan agreement",
    train=[
        Template(
            """
            So long as any part of the Loan of {loan} made by {company2} (the "Lender") is outstanding, {company} (the
            "Borrower") shall ensure that its ratio of net debt to EBITDA does not exceed {ratio} to 1, tested on 30
            June and 31 December of each year. The Borrower shall deliver a compliance certificate to the Lender within
            {days} days of each test date. A breach may be cured by an injection of equity within {cure} days, but no
            more than {n} times in the life of the Loan.
            """,
            """
            Summary: While the loan of {loan} runs, the borrower must keep its debt low compared with its earnings.
            Who: {company} is the borrower; {company2} is the lender.
            Must: The borrower keeps net debt to EBITDA within {ratio} to 1 on 30 June and 31 December and certifies
                this within {days} days.
            Unless: A breach can be cured by new equity within {cure} days.
            Watch out: That cure is available only {n} times.
            """,
            {
                "loan": ["€4,000,000", "€9,500,000", "€2,750,000", "€6,200,000"],
                "ratio": ["2.5", "3", "3.25", "3.5"],
                "days": ["30", "40", "45", "60"],
                "cure": ["10", "15", "20", "25"],
                "n": ["two", "three", "four", "five"],
            },
        ),
        Template(
            """
            The Borrower shall not, without the prior written consent of {company} (the "Lender"), create any security
            over its assets, dispose of assets worth more than {amt} in any financial year, or pay a dividend while an
            Event of Default continues. Audited accounts shall reach the Lender within {days} days of the financial year
            end. Security arising by operation of law, and retention of title in the ordinary course of trade, are
            permitted. Any breach not remedied within {cure} days entitles the Lender to demand immediate repayment.
            """,
            """
            Summary: The borrower needs the lender's consent before pledging or selling important assets.
            Who: {company} is the lender; the borrower is not named.
            Must: The borrower pledges nothing, sells no more than {amt} a year, pays no dividend during a default and
                sends audited accounts within {days} days of year end.
            Unless: Security by law and usual retention of title are permitted.
            Watch out: A breach not remedied in {cure} days allows a demand for immediate repayment.
            """,
            {"amt": ["£150,000", "£300,000", "£90,000"], "days": ["90", "120", "150"], "cure": ["10", "14", "21"]},
        ),
        Template(
            """
            The Loan bears interest at {rate} per cent per annum, payable quarterly in arrear, and shall be repaid in
            full on {date}. {person} (the "Borrower") may prepay the whole or part of the Loan on {days} days' notice,
            subject to a fee of {pct} per cent of the amount prepaid. No fee is payable on prepayments of up to {free}
            in a calendar year. If an instalment of interest is overdue, the rate on that instalment rises by {add}
            percentage points.
            """,
            """
            Summary: The loan costs {rate} per cent a year, and paying it back early costs a fee.
            Who: {person} is the borrower; the lender is not named.
            Must: The borrower pays interest quarterly and repays everything on {date}, or earlier on {days} days'
                notice with a fee of {pct} per cent.
            Unless: Early payments of up to {free} a year are free of the fee.
            Watch out: Overdue interest is charged {add} percentage points more.
            """,
            {
                "rate": ["5.4", "6.1", "4.85"],
                "date": ["31 December 2030", "30 June 2031", "1 April 2029"],
                "days": ["20", "30", "45"],
                "pct": ["1", "1.5", "2"],
                "free": ["€5,000", "€12,000", "€20,000"],
                "add": ["3", "4", "5"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            {person} pledges the fishing vessel Marigold to {company}, the bank, as security for an advance of €64,000.
            The owner keeps the vessel seaworthy, insures it for at least €70,000 and sends the bank the renewal slip
            every February. The bank may seize and sell the vessel if 3 instalments are missed. The bank releases the
            pledge within 10 days of the last payment.
            """,
            """
            Summary: The vessel Marigold secures an advance of €64,000 from the bank.
            Who: {person} owns the vessel; {company} is the bank.
            Must: {person} keeps the vessel seaworthy, insures it for at least €70,000 and sends the renewal slip every
                February; the bank releases the pledge within 10 days of the last payment.
            Unless: None stated.
            Watch out: After 3 missed instalments the bank may take the vessel and sell it.
            """,
        ),
    ],
)

INSURANCE = Topic(
    name="insurance",
    document="insurance terms",
    train=[
        Template(
            """
            Throughout the term {company} shall maintain public liability insurance of not less than {amt} for each
            claim and professional indemnity insurance of not less than {pi} in aggregate, with an insurer of good
            repute. It shall produce evidence of cover to {company2} within {days} days of a request and at each
            renewal. The professional indemnity cover shall be kept in force for {years} years after completion.
            """,
            """
            Summary: {company} must stay insured during the contract and for some years after it.
            Who: {company} takes out the insurance; {company2} may ask for evidence.
            Must: {company} keeps public liability cover of {amt} per claim and professional indemnity cover of {pi},
                and shows evidence within {days} days of a request.
            Unless: None stated.
            Watch out: Professional indemnity cover continues for {years} years after completion.
            """,
            {
                "amt|pi": [
                    "£5,000,000|£2,000,000",
                    "£2,000,000|£1,000,000",
                    "£10,000,000|£5,000,000",
                    "£3,000,000|£1,500,000",
                ],
                "days": ["5", "7", "10", "14"],
                "years": ["3", "6", "8", "12"],
            },
        ),
        Template(
            """
            The Insured shall report any loss to the Insurer within {days} days and, in the case of theft, to the police
            within {hours} hours. The first {excess} of each claim is borne by the Insured. The Insurer shall pay within
            {pay} days of receiving all documents it has requested. Cover is excluded for jewellery worth more than
            {limit} which was not kept in a locked safe, and for loss caused by the Insured on purpose.
            """,
            """
            Summary: The insurer pays for losses that are reported in time, less a fixed first part.
            Who: The insured has the policy; the insurer pays.
            Must: The insured reports a loss within {days} days and theft to the police within {hours} hours; the
                insurer pays within {pay} days of having all documents.
            Unless: Jewellery above {limit} outside a locked safe and deliberate loss are excluded.
            Watch out: The insured bears the first {excess} of each claim.
            """,
            {
                "days": ["5", "8", "14"],
                "hours": ["12", "24", "48"],
                "excess|limit": ["£150|£2,000", "£250|£3,500", "£400|£5,000"],
                "pay": ["15", "20", "30"],
            },
        ),
        Template(
            """
            Before the Policy begins the Proposer shall answer all questions truthfully and shall report any change in
            the use of the building within {days} days. If an answer is careless and wrong, the Insurer may reduce a
            claim in proportion to the premium that would have been charged; if it is deliberate, the Insurer may avoid
            the Policy and keep the premium of {prem}. The building may not stand empty for more than {empty} days
            without the Insurer's consent in writing.
            """,
            """
            Summary: The building is insured on the basis of true answers and unchanged use.
            Who: The proposer asks for the policy; the insurer grants it.
            Must: The proposer answers truthfully, reports a change of use within {days} days and does not leave the
                building empty for over {empty} days.
            Unless: It may stand empty longer with the insurer's written consent.
            Watch out: A deliberately wrong answer can cost both the policy and the premium of {prem}.
            """,
            {"days": ["7", "10", "21"], "prem": ["€640", "€1,180", "€875"], "empty": ["30", "45", "60"]},
        ),
    ],
    heldout=[
        Template(
            """
            Travel cover for the booking begins on the day of departure and ends after 42 days. {company} reimburses
            hospital costs abroad up to €300,000 and the return flight where a doctor orders it. Policyholders ring the
            emergency line before any planned operation and keep every original bill. Illnesses treated during the 9
            weeks before departure are left out, although sudden accidents remain covered. Winter sports need the add-on
            for €24.
            """,
            """
            Summary: The traveller has cover for hospital costs abroad for 42 days from departure.
            Who: {company} provides the cover; the policyholders travel.
            Must: {company} reimburses up to €300,000 and a flight home on doctor's orders; policyholders ring the
                emergency line before planned operations and keep original bills.
            Unless: Winter sports are covered only with the add-on for €24.
            Watch out: Illnesses treated in the 9 weeks before departure are left out.
            """,
        ),
    ],
)

ARBITRATION = Topic(
    name="arbitration",
    document="dispute resolution clause",
    train=[
        Template(
            """
            Any dispute arising out of this Agreement between {company} and {company2} shall be finally settled by
            arbitration under the rules of the {inst}. The tribunal shall consist of three arbitrators. The seat of
            arbitration shall be {city} and the language of the proceedings English. Before a request is filed, the
            parties' managing directors shall meet and attempt to settle the dispute within {days} days of a written
            invitation.
            """,
            """
            Summary: Disputes go to private arbitration in {city} and not to an ordinary court.
            Who: {company} and {company2}; three arbitrators decide under the rules of the {inst}.
            Must: The managing directors first meet and try to settle within {days} days of a written invitation.
            Unless: None stated.
            Watch out: The arbitrators' decision is final.
            """,
            {
                "inst": [
                    "Northsea Arbitration Chamber",
                    "Alpine Centre for Arbitration",
                    "Meridian Arbitration Institute",
                    "Harbour Court of Arbitration",
                ],
                "city": ["Rotterdam", "Zurich", "Dublin", "Hamburg"],
                "days": ["15", "20", "30", "45"],
            },
        ),
        Template(
            """
            Disputes on the amount of the Final Account below {amt} shall be decided by an independent accountant named
            by the {body} at the request of either party. {company} and {company2} shall each submit their case within
            {days} days of the appointment, and the accountant shall decide in writing within {weeks} weeks. The
            decision is final and binding save in the event of fraud or manifest error. The fees are borne by the
            parties equally unless the accountant directs otherwise.
            """,
            """
            Summary: An independent accountant decides smaller disputes about the final account.
            Who: {company} and {company2} are the parties; the {body} names the accountant.
            Must: Each party submits its case within {days} days and pays its equal share of the fees; the accountant
                decides within {weeks} weeks.
            Unless: Fraud or manifest error opens the decision, and fees may be split differently.
            Watch out: The procedure covers only disputes below {amt}.
            """,
            {
                "amt": ["£50,000", "£120,000", "£75,000"],
                "body": ["Guild of Accountants", "Chamber of Commerce", "Society of Auditors"],
                "days": ["14", "21", "28"],
                "weeks": ["4", "6", "8"],
            },
        ),
        Template(
            """
            This contract is governed by the law of {law}, and the courts of {city} have jurisdiction over all claims.
            Where the claim of {person} does not exceed {amt}, {company} undertakes to take part in mediation before an
            independent ombudsman and to bear its cost, provided that a complaint was first made to {company} in writing
            and was not settled within {weeks} weeks. While mediation is pending, time limits do not run. Mandatory
            rights of consumers at their place of residence remain unaffected.
            """,
            """
            Summary: The law of {law} applies, and smaller claims can go to mediation instead of court.
            Who: {person} is the consumer; {company} is the business.
            Must: {company} joins mediation on claims up to {amt} and pays for it; {person} first complains in writing
                and waits {weeks} weeks.
            Unless: Mandatory consumer rights at the place of residence stay.
            Watch out: Larger claims go straight to the courts of {city}.
            """,
            {
                "law|city": ["Ireland|Cork", "Scotland|Glasgow", "Portugal|Lisbon"],
                "amt": ["€2,000", "€3,500", "€5,000"],
                "weeks": ["4", "6", "8"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Quarrels between members of the cooperative about water shares go to a panel of three neighbours drawn by
            lot. A complaint is lodged with the secretary, {person}, together with a deposit of €50, at the latest 90
            days after the event. The panel hears both sides and rules before harvest, by 15 August. Its ruling may be
            challenged in court only for bias. The deposit is returned to whoever wins.
            """,
            """
            Summary: A panel of three neighbours decides quarrels about water shares in the cooperative.
            Who: The members quarrel; {person} is the secretary and takes complaints.
            Must: The complaining member files within 90 days of the event and pays a deposit of €50; the panel hears
                both sides and rules by 15 August.
            Unless: A ruling can go to court only for bias.
            Watch out: Whoever loses does not get the deposit back.
            """,
        ),
    ],
)

TOPICS = [LOAN_COVENANT, INSURANCE, ARBITRATION]
