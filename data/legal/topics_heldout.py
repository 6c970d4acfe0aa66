"""Topics that are only held out: settlements, franchises, decisions."""

from content import Template, Topic

SETTLEMENT = Topic(
    name="settlement",
    document="settlement agreement",
    train=[],
    heldout=[
        Template(
            """
            Without any admission of liability, {company} shall pay {person} the sum of £18,750 in full and final
            settlement of all claims arising from the employment that ended on 31 January 2026. Payment is to be made
            within 14 days after {person} has returned the laptop and the access card. {person} withdraws the claim
            lodged with the employment tribunal. Claims for accrued pension rights, and for injuries not yet known, are
            excepted from this release.
            """,
            """
            Summary: {company} pays {person} £18,750, and all claims from the ended job are closed.
            Who: {company} is the former employer of {person}.
            Must: {person} returns the laptop and access card and withdraws the tribunal claim; {company} pays within 14
                days of that return.
            Unless: Pension rights and injuries not yet known stay open.
            Watch out: Until laptop and card are returned, the time for payment does not start.
            """,
        ),
        Template(
            """
            {person} agrees to cut the hedge along the boundary to a height of 1.8 metres by 15 March each year, and
            {person2} agrees to drop the court action and to bear the court fees of £455. Each pays their own lawyer. If
            the hedge is not cut in time, {person2} may have it done and recover up to £200 of the cost. Nesting birds,
            if confirmed by the council, postpone the date to 30 September.
            """,
            """
            Summary: The dispute about a boundary hedge ends with yearly cutting on one side and a dropped lawsuit on
                the other.
            Who: {person} has the hedge; {person2} brought the court action.
            Must: {person} cuts it to 1.8 metres by 15 March; {person2} drops the action and pays court fees of £455.
            Unless: Nesting birds confirmed by the council move the date to 30 September.
            Watch out: A hedge left uncut can cost {person} up to £200.
            """,
        ),
        Template(
            """
            To end their dispute about the name Silvane, {company} and {company2} agree that {company2} will stop using
            it for cosmetics by 1 October 2026 and may sell off labelled stock until 31 December 2026. {company} pays
            €22,000 towards the cost of new packaging within 20 days of signature. Use of the name for garden tools is
            unaffected. For every product sold after the final date {company2} owes €75.
            """,
            """
            Summary: {company2} gives up the name Silvane for cosmetics and gets help with new packaging.
            Who: {company} and {company2} disputed the name.
            Must: {company2} stops using it for cosmetics by 1 October 2026; {company} pays €22,000 within 20 days of
                signature.
            Unless: Labelled stock may be sold until 31 December 2026, and garden tools are unaffected.
            Watch out: Each product sold after that costs {company2} €75.
            """,
        ),
    ],
)

FRANCHISE = Topic(
    name="franchise",
    document="franchise agreement",
    train=[],
    heldout=[
        Template(
            """
            The Franchisee, {person}, pays {company} an entry fee of €30,000 on signature and thereafter 6 per cent of
            net monthly turnover by the 12th of the following month. Turnover figures are transmitted daily through the
            till system. In the opening 6 months the monthly payment is capped at €900. {company} may inspect the books
            with 2 days' notice; should reported turnover prove more than 3 per cent too low, the Franchisee also bears
            the cost of the inspection.
            """,
            """
            Summary: {person} pays an entry fee and a monthly share of turnover to {company}.
            Who: {person} is the franchisee; {company} grants the franchise.
            Must: {person} pays €30,000 on signature, then 6 per cent of net turnover by the 12th of the following
                month, and transmits figures daily.
            Unless: In the opening 6 months the monthly payment stops at €900.
            Watch out: Figures over 3 per cent too low mean paying for the inspection.
            """,
        ),
        Template(
            """
            {company} will open no further bakery of its brand within the postal districts listed in Annex 2 so long as
            the Franchisee reaches yearly sales of at least £410,000. The Franchisee buys flour and coffee solely from
            suppliers approved by {company} and refits the shop every 7 years at its own expense.  Where sales stay
            under that figure in 2 successive years, the protection ends on the following 1 July.
            """,
            """
            Summary: The franchisee has its own protected area as long as it sells enough.
            Who: {company} owns the bakery brand; the franchisee runs a shop.
            Must: {company} opens no other bakery in the Annex 2 districts; the franchisee buys flour and coffee from
                approved suppliers and refits every 7 years.
            Unless: None stated.
            Watch out: After 2 years in a row under £410,000, the protection ends on 1 July.
            """,
        ),
        Template(
            """
            Should the Franchisee wish to sell the shop, it shall first offer it to {company} in writing at the price
            named by the prospective buyer. {company} has 40 days to accept. If it stays silent, the Franchisee may sell
            to that buyer within 5 months, provided the buyer passes the training course and pays the transfer fee of
            €4,200. A sale to a spouse or child of the Franchisee requires no prior offer, but the course remains
            compulsory.
            """,
            """
            Summary: A franchisee who wants to sell the shop must offer it to {company} first.
            Who: {company} may buy first; the franchisee sells the shop.
            Must: The franchisee offers it in writing at the buyer's price; {company} answers within 40 days; an outside
                buyer passes the course and pays €4,200.
            Unless: A sale to a spouse or child needs no prior offer.
            Watch out: The sale to the outside buyer must happen within 5 months.
            """,
        ),
    ],
)

DECISION = Topic(
    name="decision",
    document="decision",
    train=[],
    heldout=[
        Template(
            """
            The Tribunal finds that {company} dismissed {person} on 4 November 2025 without following its own
            disciplinary procedure, and that the dismissal was therefore unfair. {company} is ordered to pay
            compensation of £9,320 within 28 days of this decision. The award is reduced by 25 per cent, a reduction
            already contained in that figure, because {person} did not attend the appeal meeting. The claim for unpaid
            holiday is dismissed as out of time. Either party may appeal on a point of law within 42 days.
            """,
            """
            Summary: The tribunal holds that {company} dismissed {person} unfairly and awards compensation.
            Who: {company} was the employer; {person} was dismissed on 4 November 2025.
            Must: {company} pays £9,320 within 28 days, a sum already cut by 25 per cent.
            Unless: Either side may appeal on a point of law within 42 days.
            Watch out: The holiday claim came too late and brings {person} nothing.
            """,
        ),
        Template(
            """
            The planning committee grants {company} permission to convert the former mill into 16 flats, subject to
            these conditions. Work shall start before 1 June 2028 and shall not take place on Sundays. The applicant
            shall provide 20 bicycle spaces and pay £32,000 towards a new crossing before the first flat is occupied.
            The condition on working days may be waived by the council in case of danger to the public. Permission
            lapses if work has not started by the stated date.
            """,
            """
            Summary: {company} may turn the former mill into 16 flats if it meets several conditions.
            Who: The planning committee decides; {company} is the applicant.
            Must: {company} starts before 1 June 2028, rests on Sundays, provides 20 bicycle spaces and pays £32,000 for
                a crossing before anyone moves in.
            Unless: The council may waive the rule on working days if the public is in danger.
            Watch out: The permission is lost if work starts too late.
            """,
        ),
        Template(
            """
            The Ombudsman upholds the complaint of {person} in part. {company}, the energy supplier, billed 11 months on
            estimated readings although correct readings had been sent. It shall cancel the demand for €1,264, issue a
            new bill within 15 days and pay €150 for the inconvenience. The complaint about the change of tariff is
            rejected, since notice was given in good time. The recommendation binds {company} only if {person} accepts
            it by 9 December 2026.
            """,
            """
            Summary: {person} is right about the wrong bills but not about the tariff.
            Who: {company} supplies the energy; {person} complained; the Ombudsman decides.
            Must: {company} cancels the demand for €1,264, sends a new bill within 15 days and pays €150.
            Unless: All this applies only if {person} accepts by 9 December 2026.
            Watch out: The complaint about the change of tariff brings nothing, as notice was in time.
            """,
        ),
        Template(
            """
            Pending the final hearing on 22 February 2027, {company} is restrained from selling headphones under the
            mark in dispute and shall disclose, by affidavit within 10 days, the number of units sold. {company2}, the
            applicant, undertakes to compensate {company} for any loss should the order later prove unjustified, and
            shall lodge security of €80,000. Sales to buyers outside the European Union are not caught by this order.
            Failure to comply may be punished as contempt of court.
            """,
            """
            Summary: Until the hearing on 22 February 2027, {company} may not sell headphones under the disputed mark.
            Who: {company} is bound by the order; {company2} asked for it.
            Must: {company} states its sales by affidavit within 10 days; {company2} lodges €80,000 and makes good any
                loss if the order proves unjustified.
            Unless: Sales outside the European Union are still allowed.
            Watch out: Ignoring the order can be punished as contempt of court.
            """,
        ),
    ],
)

TOPICS = [SETTLEMENT, FRANCHISE, DECISION]
