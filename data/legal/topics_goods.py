"""Sales: goods, warranties, late payment and subscriptions."""

from content import Template, Topic

SALE_OF_GOODS = Topic(
    name="sale_of_goods",
    document="terms of sale",
    train=[
        Template(
            """
            {company} (the "Seller") sells and {company2} (the "Buyer") buys {qty} tonnes of {goods} at {price} per
            tonne, delivered to the Buyer's works by {date}. Risk passes on delivery, but title remains with the Seller
            until the price has been paid in full. The Buyer shall inspect the goods within {days} working days and
            notify visible defects in writing, failing which the goods are deemed accepted. Hidden defects may be
            notified within {months} months of delivery.
            """,
            """
            Summary: {company} sells {qty} tonnes of {goods} to {company2} at {price} per tonne.
            Who: {company} is the seller and {company2} the buyer.
            Must: The seller delivers by {date}; the buyer pays, inspects within {days} working days and reports visible
                defects in writing.
            Unless: Hidden defects may be reported within {months} months of delivery.
            Watch out: After delivery the buyer bears the risk, though the goods remain the seller's until paid for.
            """,
            {
                "qty|price|goods": [
                    "80|€410|barley malt",
                    "25|€1,320|wool felt",
                    "140|€265|crushed glass",
                    "60|€890|oak planks",
                ],
                "date": ["15 April 2026", "30 September 2026", "12 December 2026", "1 March 2027"],
                "days": ["3", "5", "7", "10"],
                "months": ["4", "6", "9", "12"],
            },
        ),
        Template(
            """
            Orders are binding once confirmed by the Seller. The Buyer may cancel a confirmed order up to {days} days
            before the agreed dispatch date against payment of {pct} per cent of the price; thereafter the full price is
            due. Goods made to the Buyer's specification cannot be cancelled. The Seller may deliver in part shipments
            and may vary quantities by up to {var} per cent, the price being adjusted accordingly. Carriage is included
            for orders above {min}.
            """,
            """
            Summary: A confirmed order binds the buyer, who can cancel it only early and for a charge.
            Who: The seller confirms and ships orders; the buyer places them.
            Must: A buyer who cancels does so {days} days before dispatch and pays {pct} per cent of the price, or the
                full price later.
            Unless: Goods made to the buyer's specification cannot be cancelled.
            Watch out: The delivered quantity may differ by {var} per cent, and the price with it.
            """,
            {
                "days": ["10", "21", "30"],
                "pct": ["15", "20", "25"],
                "var": ["3", "5", "8"],
                "min": ["£400", "£600", "£850"],
            },
        ),
        Template(
            """
            {company} (the "Dealer") sells the used {vehicle} to {person} for {price}, of which {dep} was paid on
            signature; the balance is due on collection. The vehicle must be collected by {date}; thereafter the Dealer
            may charge storage of {store} per day. The mileage of {miles} is stated as shown by the odometer and is not
            guaranteed. The Dealer shall replace the timing belt before collection at no further cost. The vehicle has
            been inspected and driven by the buyer.
            """,
            """
            Summary: {person} buys a used {vehicle} from {company} for {price}.
            Who: {company} is the dealer; {person} is the buyer.
            Must: The buyer, who has paid {dep}, pays the balance on collection by {date}, with storage of {store} per
                day after that; the dealer first replaces the timing belt free of charge.
            Unless: None stated.
            Watch out: The mileage of {miles} is not guaranteed, so the real one may be higher.
            """,
            {
                "vehicle|price|dep": [
                    "delivery van|£9,400|£1,400",
                    "camper van|£21,500|£3,000",
                    "estate car|£6,250|£750",
                ],
                "date": ["20 May 2026", "9 October 2026", "26 January 2027"],
                "store": ["£8", "£12", "£15"],
                "miles": ["58,210", "71,460", "43,905"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            {person} buys from {company} an oak dining table with eight chairs, made to measure, for €3,480. Half is
            payable at once, the remainder when the furniture is delivered to the buyer's home, which shall be no later
            than 20 November 2026. If delivery slips by more than 21 days, the buyer may withdraw and recover the
            deposit. Delays that the buyer has caused by changing the measurements do not count.
            """,
            """
            Summary: {person} orders a table and eight chairs made to measure for €3,480.
            Who: {company} sells the furniture; {person} is the buyer.
            Must: {person} pays half at once and the rest on delivery; {company} delivers to the home by 20 November
                2026.
            Unless: If delivery is over 21 days late, the buyer may withdraw and get the deposit back.
            Watch out: A delay caused by changed measurements gives no such right.
            """,
        ),
    ],
)

WARRANTY = Topic(
    name="warranty",
    document="warranty clause",
    train=[
        Template(
            """
            {company} (the "Manufacturer") warrants that the {product} will be free from defects in material and
            workmanship for {months} months from the date of purchase. The Manufacturer shall, at its option, repair or
            replace a defective unit free of charge, provided that the purchaser returns it with proof of purchase
            within {days} days of discovering the defect. The warranty does not cover normal wear, misuse or repairs by
            unauthorised persons. The cost of return carriage is borne by the purchaser.
            """,
            """
            Summary: {company} repairs or replaces a defective {product} for {months} months after purchase.
            Who: {company} is the manufacturer; the purchaser owns the {product}.
            Must: The manufacturer acts free of charge; the purchaser returns the unit with proof of purchase within
                {days} days of finding the defect.
            Unless: Normal wear, misuse and unauthorised repairs are not covered.
            Watch out: The purchaser pays for sending the unit back.
            """,
            {
                "product": ["water pump", "coffee grinder", "treadmill", "garden shredder"],
                "months": ["18", "24", "30", "36"],
                "days": ["14", "15", "21", "28"],
            },
        ),
        Template(
            """
            The Contractor guarantees the watertightness of the roof for {years} years from the date of completion,
            {date}. The Owner shall have the gutters cleaned every {clean} months and shall keep the invoices as
            evidence. On a notice of leakage the Contractor shall inspect the roof within {days} working days and make
            good any fault at its own expense. The guarantee lapses if anyone other than the Contractor alters the roof.
            Damage by falling trees is excluded.
            """,
            """
            Summary: The contractor guarantees a watertight roof for {years} years from {date}.
            Who: The contractor built the roof; the owner has the building.
            Must: The owner has the gutters cleaned every {clean} months and keeps the invoices; the contractor inspects
                leaks within {days} working days and fixes faults free.
            Unless: Damage by falling trees is excluded.
            Watch out: The guarantee is gone if anyone else alters the roof.
            """,
            {
                "years": ["8", "10", "15"],
                "date": ["31 May 2026", "18 September 2026", "4 December 2026"],
                "clean": ["6", "12", "9"],
                "days": ["3", "5", "7"],
            },
        ),
        Template(
            """
            The Seller warrants to the Buyer that the Accounts give a true and fair view of the Company at {date} and
            that no litigation is pending. The Buyer may bring a claim only if it exceeds {min}, and must give notice of
            it before {deadline}. The Seller's total liability is limited to {cap}. The Seller is not liable for any
            matter fairly disclosed in the Disclosure Letter, nor for a loss which the Buyer has recovered from
            insurers.
            """,
            """
            Summary: The seller promises that the company's accounts are right and that no lawsuit is pending.
            Who: The seller gives the promise; the buyer acquires the company.
            Must: The buyer gives notice of claims before {deadline}; the seller pays up to {cap} in all.
            Unless: The seller is not liable for matters fairly disclosed or losses insurers have paid.
            Watch out: A claim that does not exceed {min} cannot be brought.
            """,
            {
                "date|deadline": [
                    "31 December 2025|30 June 2027",
                    "31 March 2026|30 September 2027",
                    "30 June 2026|31 January 2028",
                ],
                "min|cap": ["£10,000|£1,200,000", "£5,000|£480,000", "£25,000|£3,000,000"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Each bicycle frame sold by {company} carries a promise against cracks that lasts 5 years for the first owner
            only. The owner registers the frame number online within 60 days of purchase and brings the bicycle to a
            partner workshop for a check once a year. A cracked frame is exchanged for one of the same or a similar
            model; labour is charged at £35. Frames used in races, or hired out, fall outside the promise.
            """,
            """
            Summary: Cracked bicycle frames are exchanged for 5 years, but only for the first owner.
            Who: {company} sells the frames; the first owner benefits.
            Must: The owner registers the frame number within 60 days of purchase, has a yearly check done and pays £35
                for labour; {company} exchanges cracked frames.
            Unless: Frames used in races or hired out fall outside the promise.
            Watch out: A second-hand buyer has no rights under it.
            """,
        ),
    ],
)

LATE_PAYMENT = Topic(
    name="late_payment",
    document="payment terms",
    train=[
        Template(
            """
            Invoices are payable within {days} days of receipt. If the Customer fails to pay on the due date, {company}
            may charge interest on the overdue sum at {pct} per cent per annum, accruing daily until payment, and a
            fixed collection charge of {fee} per invoice. {company} may suspend deliveries once a sum has been overdue
            for {susp} days. Interest is not payable on an amount which the Customer disputes in good faith, provided
            that the undisputed part is paid on time.
            """,
            """
            Summary: A customer who pays late owes interest and a charge to {company}.
            Who: {company} sends the invoices; the customer pays them.
            Must: The customer pays within {days} days of receipt, or adds {pct} per cent yearly interest and {fee} per
                invoice.
            Unless: Amounts disputed in good faith carry no interest, if the rest is paid on time.
            Watch out: Deliveries can stop once a sum is {susp} days overdue.
            """,
            {
                "days": ["14", "20", "30", "45"],
                "pct": ["6", "8", "9", "7.5"],
                "fee": ["£25", "£40", "£60", "£70"],
                "susp": ["10", "15", "21", "28"],
            },
        ),
        Template(
            """
            {person} shall repay the outstanding balance of {total} to {company} in monthly instalments of {inst}, the
            first falling due on {date}. If an instalment is more than {days} days late, a reminder fee of {fee} is
            added. If {n} consecutive instalments remain unpaid, the whole remaining balance becomes due at once, unless
            {person} pays the arrears within {cure} days of a written warning. Payments are applied first to fees and
            then to the balance.
            """,
            """
            Summary: {person} pays off a debt of {total} to {company} in monthly parts.
            Who: {person} owes the money; {company} is owed it.
            Must: {person} pays {inst} a month from {date}, and {fee} more when an instalment is over {days} days late.
            Unless: After {n} missed instalments, {person} can still pay the arrears within {cure} days of a written
                warning.
            Watch out: If the arrears stay unpaid, the whole remaining balance is due at once.
            """,
            {
                "total|inst": ["£4,800|£200", "£2,160|£120", "£6,300|£350"],
                "date": ["1 March 2026", "15 June 2026", "1 October 2026"],
                "days": ["5", "7", "10"],
                "fee": ["£6", "£8", "£12"],
                "n": ["two", "three", "four"],
                "cure": ["9", "14", "20"],
            },
        ),
        Template(
            """
            The Buyer may deduct a discount of {pct} per cent if payment reaches the Seller within {early} days of the
            invoice date; otherwise the net price is due within {late} days. After a first reminder has gone unanswered
            for {wait} days, the Seller may pass the claim to a collection agency, whose reasonable charges the Buyer
            shall bear.
            """,
            """
            Summary: Quick payment earns a discount, and unpaid bills may go to a collection agency.
            Who: The seller issues the invoice; the buyer pays it.
            Must: The buyer pays the net price within {late} days, or the price less {pct} per cent within {early} days.
            Unless: None stated.
            Watch out: If a reminder goes unanswered for {wait} days, agency charges can fall on the buyer.
            """,
            {
                "pct": ["1.5", "2", "3"],
                "early|late": ["8|30", "10|45", "14|60"],
                "wait": ["7", "12", "20"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Parents pay the fee of €275 for the nursery of {company} by the third working day of each month. A family
            that falls 20 days behind receives a letter and, if nothing arrives within a further 8 days, the child's
            place may be given to another family. Each returned direct debit costs €9. Families whose application for
            public support is pending may ask for the payment to be deferred until the decision.
            """,
            """
            Summary: The nursery fee is due early each month, and families who fall behind risk the place.
            Who: {company} runs the nursery; the parents pay for it.
            Must: Parents pay €275 by the third working day, and €9 for each returned direct debit.
            Unless: Families waiting for a decision on public support may ask to pay later.
            Watch out: After 20 days' delay and 8 more days without payment, the place can go to another family.
            """,
        ),
    ],
)

SUBSCRIPTION = Topic(
    name="subscription",
    document="subscription terms",
    train=[
        Template(
            """
            Your subscription to {brand} costs {price} per month after a free trial of {trial} days. It renews
            automatically each month until you cancel. To avoid being charged you must cancel in your account settings
            at least {hours} hours before the trial or the current month ends. {company} may raise the price on {notice}
            days' notice by e-mail. Fees already paid are not refunded, except where the service was unavailable for
            more than {out} consecutive days.
            """,
            """
            Summary: {brand} costs {price} a month after the trial and renews until you cancel.
            Who: {company} provides the service; you are the subscriber.
            Must: You pay monthly after {trial} days, or cancel in your account settings {hours} hours before a period
                ends; {company} announces price rises {notice} days ahead.
            Unless: Fees are refunded only after an outage of more than {out} consecutive days.
            Watch out: A late cancellation means paying for another month.
            """,
            {
                "brand": ["Chordbook", "Larder Box Online", "Stargazer TV", "Mapfold"],
                "price": ["£6.99", "£9.50", "£12.90", "£4.49"],
                "trial": ["7", "10", "14", "30"],
                "hours": ["12", "24", "36", "48"],
                "notice": ["28", "35", "45", "60"],
                "out": ["2", "3", "4", "5"],
            },
        ),
        Template(
            """
            The minimum term is {months} months, beginning on {date}. {company} shall provide the line at {price} per
            month and may increase that price once a year, in April, by no more than {pct} per cent. A customer leaving
            before the end of the minimum term shall pay {fee} for each remaining month. A customer who moves to an
            address where {company} offers no service may leave free of charge on {notice} days' notice, on proof of the
            move.
            """,
            """
            Summary: The customer takes a line from {company} for at least {months} months.
            Who: {company} provides the line; the customer uses it.
            Must: The customer pays {price} a month from {date}, and {fee} for each month left when leaving early.
            Unless: After a move to a place without service, leaving is free on {notice} days' notice with proof.
            Watch out: The price can rise by up to {pct} per cent every April.
            """,
            {
                "months": ["12", "18", "24"],
                "date": ["2 February 2026", "20 July 2026", "9 November 2026"],
                "price|fee": ["£27.50|£19", "£34|£24", "£22.90|£15"],
                "pct": ["3.5", "4", "6"],
                "notice": ["14", "21", "30"],
            },
        ),
        Template(
            """
            As a consumer you may withdraw from this contract within {days} days of receiving the first box, without
            giving reasons, by an e-mail or letter to {company}. We shall refund all payments within {ref} days of your
            message, and may withhold the refund until the goods are back. You bear the cost of returning them, which is
            about {cost}. Opened food and personalised items cannot be returned. A withdrawal also ends all later
            deliveries.
            """,
            """
            Summary: You can leave the box subscription within {days} days of the first box, without reasons.
            Who: {company} sends the boxes; you are the consumer.
            Must: You write to {company} and return the goods; it refunds all payments within {ref} days of your
                message.
            Unless: Opened food and personalised items cannot be returned.
            Watch out: You pay about {cost} for the return, and the refund can wait until the goods are back.
            """,
            {"days": ["14", "21", "30"], "ref": ["7", "10", "12"], "cost": ["€6", "€9", "€11"]},
        ),
    ],
    heldout=[
        Template(
            """
            Patrons of the {company} theatre card pay £88 in September and receive 2 tickets for each of 6 evenings. The
            card extends itself by another season unless a postcard or e-mail reaches the box office by 31 May. Exchange
            of an evening is possible once, up to 5 days ahead, for a fee of £3. If an evening is called off, the
            theatre offers a substitute or returns the share of the price.
            """,
            """
            Summary: The theatre card brings 2 tickets for each of 6 evenings and renews itself every season.
            Who: {company} issues the card; the patrons hold it.
            Must: Patrons pay £88 in September; the theatre replaces or refunds an evening that is called off.
            Unless: For £3, an evening can be exchanged once, up to 5 days ahead.
            Watch out: The card runs on unless a message reaches the box office by 31 May.
            """,
        ),
    ],
)

TOPICS = [SALE_OF_GOODS, WARRANTY, LATE_PAYMENT, SUBSCRIPTION]
