"""Employment, restraints after it, and confidentiality."""

from content import Template, Topic

EMPLOYMENT = Topic(
    name="employment",
    document="employment contract",
    train=[
        Template(
            """
            The Employee's appointment as {role} begins on {start} and is subject to a probationary period of {months}
            months, during which either party may terminate the employment on {weeks} weeks' written notice. {company}
            (the "Employer") shall pay the Employee a basic salary of {salary} per annum, in equal monthly instalments
            in arrear. The appointment becomes permanent on the day after the probationary period ends.
            """,
            """
            Summary: The employee starts as {role} on {start}, with a trial period of {months} months.
            Who: {company} is the employer; the employee is not named.
            Must: The employer pays {salary} a year in monthly instalments; during probation either side gives {weeks}
                weeks' written notice to end the job.
            Unless: None stated.
            Watch out: While probation lasts, the job can be ended quickly.
            """,
            {
                "role": ["warehouse manager", "payroll clerk", "site engineer", "sales assistant"],
                "start": ["1 September 2026", "4 January 2027", "15 March 2027", "1 June 2026"],
                "months": ["3", "4", "5", "6"],
                "weeks": ["1", "2", "3", "4"],
                "salary": ["£31,500", "£27,800", "£44,250", "£38,600"],
            },
        ),
        Template(
            """
            {person} shall work {hours} hours per week, exclusive of meal breaks, at the premises of {company} in {city}
            and may be required to work reasonable overtime. Overtime approved in advance by a line manager shall be
            paid at {rate} times the basic hourly rate or, at the election of {company}, compensated by time off to be
            taken within {months} months. Overtime which has not been so approved gives rise to no entitlement, but work
            on a public holiday shall always be paid.
            """,
            """
            Summary: The contract fixes the working week and rewards overtime only when it was approved first.
            Who: {company} is the employer and {person} the employee.
            Must: {person} works {hours} hours a week in {city}; {company} pays approved overtime at {rate} times the
                hourly rate or gives time off within {months} months.
            Unless: Work on a public holiday is always paid.
            Watch out: Overtime without advance approval earns neither pay nor time off.
            """,
            {
                "hours": ["35", "37.5", "40"],
                "city": ["Leeds", "Bristol", "Dundee"],
                "rate": ["1.25", "1.5", "1.75"],
                "months": ["2", "3", "6"],
            },
        ),
        Template(
            """
            The Company shall meet the cost of the Employee's course at the {school}, up to {cost}. Should the Employee
            resign or be dismissed for misconduct within {months} months of completing the course, the Employee shall
            repay that cost, reduced by {pct} per cent for each complete month of service after completion. Repayment
            falls due on the last day of employment, and the Company may deduct it from the final salary to the extent
            the law allows. No repayment is due in the event of redundancy.
            """,
            """
            Summary: The company pays for a course, and an employee who leaves too soon pays part of it back.
            Who: The company is the employer; the employee attends the {school}.
            Must: The company pays up to {cost}; an employee who resigns or is dismissed for misconduct within {months}
                months repays it, less {pct} per cent per complete month worked afterwards.
            Unless: Nothing is repaid after redundancy.
            Watch out: The sum can be taken out of the final salary.
            """,
            {
                "school": ["Harbour Business School", "Linden Institute", "Weald College of Engineering"],
                "cost": ["£3,200", "£4,750", "£6,000"],
                "months|pct": ["20|5", "25|4", "10|10"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Every employee of {company} is entitled to 27 working days of paid leave in each calendar year, in addition
            to public holidays. Leave must be requested through the staff portal no later than 15 days before its first
            day, and up to 5 days may be carried into the following year, where they lapse on 30 April. Leave that could
            not be taken because of illness or parental absence does not lapse.
            """,
            """
            Summary: Staff get 27 paid days off a year on top of public holidays, and can save up only a few.
            Who: {company} employs the people whose leave is described.
            Must: Employees ask for leave in the staff portal at least 15 days before it begins.
            Unless: Days missed through illness or parental absence do not expire.
            Watch out: Only 5 unused days move into the next year, and they are lost on 30 April.
            """,
        ),
    ],
)

NON_COMPETE = Topic(
    name="non_compete",
    document="contract",
    train=[
        Template(
            """
            For a period of {months} months after the Termination Date, {person} shall not, within {km} kilometres of
            any branch of {company} at which {person} worked during the final year of service, be engaged or interested
            in any business competing with the sale of {goods}. In consideration of this covenant {company} shall pay
            {pay} on the Termination Date. The holding of shares of up to {pct} per cent of a listed company, for
            investment only, is not prohibited.
            """,
            """
            Summary: After leaving, {person} may not work for or own a nearby competitor for {months} months.
            Who: {company} is the former employer; {person} is the person leaving.
            Must: {person} avoids competing sellers of {goods} within {km} kilometres of the branches concerned;
                {company} pays {pay} on the termination date.
            Unless: Investing in up to {pct} per cent of a listed company is allowed.
            Watch out: Every branch worked at in the final year has its own protected zone.
            """,
            {
                "months": ["6", "9", "12", "18"],
                "km": ["10", "15", "25", "40"],
                "goods": ["hearing aids", "kitchen furniture", "dental equipment", "agricultural machinery"],
                "pay": ["£8,000", "£11,500", "£14,000", "£20,000"],
                "pct": ["2", "3", "4", "5"],
            },
        ),
        Template(
            """
            The Consultant shall not, during the Engagement and for {months} months thereafter, solicit any Client with
            whom the Consultant dealt in the {look} months preceding the end of the Engagement, nor entice away any
            employee of {company} earning more than {salary} a year. For each breach the Consultant shall pay {company}
            liquidated damages of {pen}. General advertisements are not solicitation, and clients whom the Consultant
            served before the Engagement began are not Clients for the purposes of this clause.
            """,
            """
            Summary: The consultant may not draw clients or better-paid staff away from {company}.
            Who: {company} engages the consultant; its clients and employees are off limits.
            Must: During the work and for {months} months after it, the consultant leaves alone clients of the last
                {look} months and employees earning over {salary}.
            Unless: General advertising and clients from before the engagement are allowed.
            Watch out: Each breach costs the consultant {pen}.
            """,
            {
                "months": ["8", "12", "15"],
                "look": ["18", "24", "36"],
                "salary": ["€40,000", "€52,000", "€60,000"],
                "pen": ["€7,500", "€10,000", "€12,500"],
            },
        ),
        Template(
            """
            In connection with the sale of the Business, {person} (the "Seller") undertakes to {company} (the "Buyer")
            not to carry on a {trade} business anywhere in {region} before {date}, and not to use the name {brand} or
            any similar name at any time. The Seller acknowledges that a sum of {amount} out of the price reflects this
            undertaking and must be returned in full on any breach. Work as an employee without management duties is
            permitted.
            """,
            """
            Summary: The seller of the business promises not to compete with its buyer or reuse its name.
            Who: {person} sells the business; {company} buys it.
            Must: The seller runs no {trade} business in {region} before {date} and never uses the name {brand} or a
                similar one.
            Unless: A job as an employee without management duties is allowed.
            Watch out: Any breach means giving back {amount} of the price.
            """,
            {
                "trade|brand": ["bakery|Golden Sheaf", "veterinary|Willow Paws", "plumbing|Tidewater"],
                "region": ["Cornwall", "the county of Fife", "North Wales"],
                "date": ["31 December 2028", "1 July 2029", "30 April 2028"],
                "amount": ["£15,000", "£22,000", "£30,000"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            While the notice period is running, {company} may direct {person} to stay away from its offices and from its
            customers for up to 4 months. Throughout that time salary and pension contributions continue, the company
            car shall be returned within 3 days, and {person} may take up no other paid work. Teaching at a public
            university is exempt, as is any post to which the board agrees by a signed letter.
            """,
            """
            Summary: During notice, {company} may send {person} home on pay and bar other jobs.
            Who: {company} is the employer; {person} is under notice.
            Must: {company} keeps paying salary and pension; {person} stays away for up to 4 months if told to, returns
                the car within 3 days and takes no other paid work.
            Unless: University teaching and posts the board has agreed to are exempt.
            Watch out: The board's agreement counts only in a signed letter.
            """,
        ),
    ],
)

NDA = Topic(
    name="nda",
    document="confidentiality agreement",
    train=[
        Template(
            """
            Each party (the "Recipient") shall hold in confidence all Confidential Information disclosed to it by the
            other in connection with Project {project} and shall use it solely for the Permitted Purpose. Disclosure is
            permitted to those employees and advisers who need to know it and are bound by equivalent duties. The
            obligations in this clause continue for {years} years after {date}. They do not extend to information which
            is public other than through breach, or which the Recipient is compelled by law to disclose.
            """,
            """
            Summary: Both sides keep what they learn about Project {project} secret and use it only as agreed.
            Who: Each party is the recipient of the other's information.
            Must: The recipient stays silent until {years} years after {date} and shares only with staff and advisers
                who need the information and are equally bound.
            Unless: Public information and disclosure forced by law are excepted.
            Watch out: Information made public by a breach stays protected.
            """,
            {
                "project": ["Heron", "Basalt", "Juniper", "Lantern"],
                "years": ["3", "5", "4", "7"],
                "date": ["1 February 2026", "30 June 2026", "15 October 2026", "31 March 2027"],
            },
        ),
        Template(
            """
            Within {days} days of a written request by {company} (the "Discloser"), {company2} (the "Recipient") shall
            return or destroy all documents containing Confidential Information, erase them from its systems, and
            deliver a certificate signed by a director confirming that it has done so. The Recipient may keep one copy
            where required by law, and need not erase automatic back-ups which are overwritten within {months} months.
            Any copy so kept remains subject to this Agreement without limit in time.
            """,
            """
            Summary: When asked, the recipient must give back or destroy the secret documents and prove it.
            Who: {company} disclosed the information; {company2} received it.
            Must: Within {days} days of a written request, {company2} returns or destroys the documents, erases its
                files and sends a director's certificate.
            Unless: It may keep one copy the law requires and back-ups overwritten within {months} months.
            Watch out: Copies that are kept stay confidential forever.
            """,
            {"days": ["7", "10", "14"], "months": ["3", "6", "12"]},
        ),
        Template(
            """
            {person}, having been given access to the customer lists and pricing of {company}, undertakes not to
            disclose them to any third party and not to copy them outside the company's systems. For each proven breach
            {person} shall pay a contractual penalty of {pen}, without prejudice to the right of {company} to claim
            further loss. The undertaking applies during the contract and thereafter until {date}. It does not restrict
            reports of unlawful conduct to a competent authority.
            """,
            """
            Summary: {person} must keep the customer lists and prices of {company} secret.
            Who: {company} owns the information; {person} has access to it.
            Must: Until {date}, {person} neither passes the data to third parties nor copies it outside the company's
                systems.
            Unless: Unlawful conduct may be reported to a competent authority.
            Watch out: Each proven breach costs {pen}, and {company} can claim further loss as well.
            """,
            {
                "pen": ["€5,000", "€8,000", "€15,000"],
                "date": ["31 December 2027", "30 September 2028", "1 March 2029"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Before the site tour on 12 May 2026 every visitor must sign the attached declaration. Visitors undertake
            towards {company} that they will take no photographs, will hand in recording devices at reception, and will
            treat the production method for coated glass as a trade secret for 6 years. Journalists accredited by the
            press office may photograph the areas marked in green. Whoever ignores these rules may be escorted off the
            site and is answerable for the resulting loss.
            """,
            """
            Summary: Visitors on the site tour promise not to record anything and to keep the production method secret.
            Who: {company} opens its site; every visitor signs the declaration.
            Must: Visitors sign before the tour on 12 May 2026, hand in recording devices, take no photographs and keep
                the secret for 6 years.
            Unless: Accredited journalists may photograph the areas marked in green.
            Watch out: A visitor who ignores the rules pays for the resulting loss.
            """,
        ),
    ],
)

TOPICS = [EMPLOYMENT, NON_COMPETE, NDA]
