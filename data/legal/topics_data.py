"""Rights in works, personal data, privacy notices and software licences."""

from content import Template, Topic

IP_ASSIGNMENT = Topic(
    name="ip_assignment",
    document="agreement",
    train=[
        Template(
            """
            {person} (the "Assignor") hereby assigns to {company} with full title guarantee all copyright and design
            rights in the {work}, throughout the world and for their full term. In return {company} shall pay {fee}
            within {days} days of delivery of the source files. The Assignor waives all moral rights to the extent
            permitted by law, but may show the {work} in a personal portfolio after {date}. Rights in third-party fonts
            and images are not assigned.
            """,
            """
            Summary: {person} gives {company} all copyright and design rights in the {work}, worldwide.
            Who: {person} hands over the rights; {company} acquires them.
            Must: {company} pays {fee} within {days} days of receiving the source files.
            Unless: Rights in third-party fonts and images stay out, and {person} may show the {work} in a portfolio
                after {date}.
            Watch out: Moral rights are given up as far as the law allows.
            """,
            {
                "work": ["logo", "packaging design", "poster series", "website layout"],
                "fee": ["£1,800", "£4,500", "£2,750", "£6,200"],
                "days": ["7", "14", "21", "30"],
                "date": ["1 May 2026", "30 November 2026", "15 February 2027", "1 August 2026"],
            },
        ),
        Template(
            """
            Any invention made by the Employee in the course of the Employee's duties shall belong to the Company. The
            Employee shall disclose each invention in writing within {days} days of making it and shall sign all
            documents needed to register it, also after leaving. The Company shall pay {bonus} on the filing of a patent
            application and a further {grant} on grant. Inventions made in the Employee's own time and without the
            Company's equipment or information remain with the Employee.
            """,
            """
            Summary: What the employee invents at work belongs to the company, which pays a reward.
            Who: The employee invents; the company is the employer and owner.
            Must: The employee reports inventions in writing within {days} days and signs the papers; the company pays
                {bonus} on filing a patent application and {grant} on grant.
            Unless: Inventions made in free time without company means stay with the employee.
            Watch out: The duty to sign continues after the employee leaves.
            """,
            {"days": ["10", "14", "30"], "bonus|grant": ["€500|€1,500", "€750|€2,000", "€1,000|€3,500"]},
        ),
        Template(
            """
            All Deliverables shall vest in {company2}, as client, only upon payment in full of the fees of {fee}. Until
            then {company} grants a revocable licence to use them for internal testing. Materials which {company} owned
            before {date} are excluded from the transfer; {company2} receives a non-exclusive licence to use them as
            part of the Deliverables. {company} shall defend {company2} against any third-party claim of infringement
            and bear the cost up to {cap}.
            """,
            """
            Summary: The client becomes owner of the work only after paying for it completely.
            Who: {company} creates the work; {company2} is the client.
            Must: {company2} pays {fee}; {company} defends it against infringement claims at a cost of up to {cap}.
            Unless: Materials {company} owned before {date} are not transferred, only licensed.
            Watch out: Before full payment the client may only test, and that permission can be withdrawn.
            """,
            {
                "fee|cap": ["£36,000|£100,000", "£58,500|£150,000", "£21,400|£60,000"],
                "date": ["1 March 2026", "15 July 2026", "1 November 2026"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            The photographer, {person}, retains ownership of all pictures taken at the wedding. The couple obtain the
            right to print and share them privately; any use in advertising needs a separate licence at £260 per
            picture. Raw files are deleted on 1 November 2026, and the photographer hands over at least 350 edited
            pictures before then. The photographer may exhibit up to 10 of them, unless the couple object in a letter
            before the wedding day.
            """,
            """
            Summary: The wedding pictures belong to the photographer, and the couple may use them privately.
            Who: {person} takes the pictures; the couple receive them.
            Must: {person} delivers at least 350 edited pictures before 1 November 2026; the couple pay £260 per picture
                for use in advertising.
            Unless: The couple can stop an exhibition of up to 10 pictures by a letter before the wedding day.
            Watch out: The raw files are gone after that date.
            """,
        ),
    ],
)

DATA_PROCESSING = Topic(
    name="data_processing",
    document="data processing agreement",
    train=[
        Template(
            """
            The Processor, {company}, shall process Personal Data only on the documented instructions of the Controller,
            {company2}, and shall notify the Controller of any personal data breach within {hours} hours of becoming
            aware of it. At the end of the contract the Processor shall delete all Personal Data within {days} days and
            confirm the deletion in writing. The Processor may depart from instructions only where the law so requires,
            in which case it shall inform the Controller beforehand unless that law forbids it.
            """,
            """
            Summary: {company} may handle personal data only as {company2} instructs.
            Who: {company} is the processor and {company2} the controller.
            Must: {company} reports a data breach within {hours} hours, deletes all data within {days} days of the end
                of the contract and confirms this in writing.
            Unless: The law may require something else, which the controller is normally told beforehand.
            Watch out: The hours for reporting start as soon as the processor knows of the breach.
            """,
            {"hours": ["24", "36", "48", "12"], "days": ["30", "45", "60", "90"]},
        ),
        Template(
            """
            The Processor shall give the Controller at least {days} days' notice before engaging a new Sub-processor.
            The Controller may object on reasonable grounds within {obj} days; if the parties find no solution, the
            Controller may terminate the affected service without penalty. The Processor remains fully liable for the
            acts of every Sub-processor. In an urgent case affecting security, the Processor may replace a Sub-processor
            at once and give notice within {urgent} days afterwards.
            """,
            """
            Summary: The processor must announce new subcontractors, and the controller can object.
            Who: The controller decides on the data; the processor and its sub-processors handle it.
            Must: The processor gives {days} days' notice and stays liable for every sub-processor; the controller
                objects within {obj} days, with reasonable grounds.
            Unless: In an urgent security case, notice may follow within {urgent} days.
            Watch out: If no solution is found, the controller's only stated way out is ending the service.
            """,
            {"days|obj": ["30|14", "45|20", "60|30"], "urgent": ["2", "3", "5"]},
        ),
        Template(
            """
            {company}, as processor, shall make available the information needed to show compliance and shall allow
            {company2}, as controller, to audit its premises once in every period of {months} months on {days} days'
            written notice. Audits take place in office hours and last no longer than {length} days. Each side bears its
            own costs; if an audit reveals a material failing, {company} shall refund reasonable costs up to {cap}.
            Audits demanded by a supervisory authority are not subject to these limits.
            """,
            """
            Summary: The controller may inspect how the processor handles its data, within limits.
            Who: {company} is the processor; {company2} is the controller.
            Must: {company} admits an audit every {months} months, of up to {length} days; {company2} gives {days} days'
                written notice.
            Unless: Audits demanded by a supervisory authority are free of these limits.
            Watch out: A material failing obliges {company} to refund costs of up to {cap}.
            """,
            {
                "months": ["12", "18", "24"],
                "days": ["15", "20", "30"],
                "length": ["2", "3", "4"],
                "cap": ["€6,000", "€9,500", "€12,000"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            Call recordings are kept by {company} on behalf of {company2} in encrypted form on servers within the
            European Economic Area, and are wiped after 45 days. A transfer to any other country calls for a signed
            addendum. Staff with access shall be trained every January, and the list of their names goes to {company2}
            by 10 February. Recordings needed for a pending complaint are kept until the complaint is closed.
            """,
            """
            Summary: Recorded calls are stored in encrypted form inside the European Economic Area and then wiped.
            Who: {company} stores the recordings on behalf of {company2}.
            Must: {company} wipes recordings after 45 days, trains staff every January and sends {company2} their names
                by 10 February.
            Unless: Recordings for a pending complaint stay until it is closed.
            Watch out: No recording may go to another country without a signed addendum.
            """,
        ),
    ],
)

PRIVACY_NOTICE = Topic(
    name="privacy_notice",
    document="privacy notice",
    train=[
        Template(
            """
            When you open an account, {company} collects your name, postal address and payment details in order to
            perform our contract with you. We keep invoices for {years} years because tax law obliges us to, and delete
            all other account data {months} months after you close the account. You may ask for a copy of your data at
            any time, and we will answer within {days} days.
            """,
            """
            Summary: {company} explains which account data it collects and how long it keeps them.
            Who: {company} collects the data; you hold the account.
            Must: {company} deletes account data {months} months after you close the account and answers requests for a
                copy within {days} days.
            Unless: None stated.
            Watch out: Closing the account does not remove invoices, which stay for {years} years.
            """,
            {"years": ["6", "7", "8", "10"], "months": ["3", "4", "9", "12"], "days": ["14", "21", "28", "30"]},
        ),
        Template(
            """
            We send our newsletter only with your consent, which you can withdraw at any time through the link at the
            foot of each message. {company} measures whether you open the newsletter, and shares your e-mail address
            with our mailing provider, {company2}, for this purpose alone. Records of your consent are stored for
            {years} years after withdrawal. Messages about an order or a change to these terms are sent without consent,
            as we need them to perform the contract.
            """,
            """
            Summary: The newsletter comes only if you agreed to it, and you can stop it at any time.
            Who: {company} sends it, {company2} is the mailing provider, and you receive it.
            Must: {company} stops once you withdraw consent through the link, and keeps the record of it for {years}
                years.
            Unless: Messages about orders or changed terms need no consent.
            Watch out: Whether you open the newsletter is measured.
            """,
            {"years": ["2", "3", "4"]},
        ),
        Template(
            """
            Cameras operate at the entrances of our {place} to protect persons and property. Images are stored for
            {hours} hours and are then overwritten automatically. Only the security manager of {company} may view them.
            Anyone who was filmed may request a copy by writing to us within that time and stating the place and the
            approximate hour. Images showing an incident are handed to the police on request and are kept until the
            proceedings end.
            """,
            """
            Summary: Cameras film the entrances of the {place} for safety, and the images are kept briefly.
            Who: {company} runs the cameras; anyone passing an entrance is filmed.
            Must: {company} overwrites images after {hours} hours and lets only its security manager view them.
            Unless: Images of an incident go to the police on request and stay until the proceedings end.
            Watch out: A request for a copy must arrive in writing within {hours} hours.
            """,
            {"place": ["car park", "shopping arcade", "sports hall"], "hours": ["48", "72", "96"]},
        ),
    ],
    heldout=[
        Template(
            """
            The cycling app of {company} records your position while a ride is active and uses it to draw the map of
            your tour. Positions within 200 metres of the home address you enter are cut off. Riders below the age of 16
            need the approval of a parent, which we verify by e-mail. Tours become visible to other riders unless you
            set them to private. Raw positions are discarded after 18 weeks.
            """,
            """
            Summary: The app follows your position during a ride to draw a map of the tour.
            Who: {company} runs the cycling app; you are the rider.
            Must: {company} cuts off positions within 200 metres of your home and discards raw positions after 18 weeks;
                riders below 16 get a parent's approval.
            Unless: Tours stay hidden from other riders if you set them to private.
            Watch out: Without that setting, others can see where you ride.
            """,
        ),
    ],
)

SOFTWARE_LICENCE = Topic(
    name="software_licence",
    document="licence terms",
    train=[
        Template(
            """
            The Licensor grants {company} a non-exclusive, non-transferable licence to install the Software on up to
            {seats} workstations for its own business. The annual fee of {fee} is payable on or before {date} in each
            year. {company} shall not copy, decompile or sublicense the Software. On an audit showing use beyond the
            permitted number, {company} shall pay for the excess at {mult} times the list price.
            """,
            """
            Summary: {company} may use the software on up to {seats} workstations for a yearly fee.
            Who: The licensor grants the licence; {company} uses the software.
            Must: {company} pays {fee} by {date} each year and does not copy, decompile or sublicense the software.
            Unless: None stated.
            Watch out: Installing it on more workstations costs {mult} times the list price for the excess.
            """,
            {
                "seats": ["25", "40", "60", "150"],
                "fee": ["£3,600", "£5,250", "£8,400", "£17,900"],
                "date": ["31 January", "1 April", "30 June", "15 October"],
                "mult": ["1.2", "1.5", "2", "1.8"],
            },
        ),
        Template(
            """
            Access to the Service is personal to each named user, and log-in details may not be shared. {company} may
            suspend an account on {days} days' notice if any fee remains unpaid for more than {over} days, and at once
            if the account threatens the security of the Service. During suspension fees continue to accrue. Data is
            kept for {keep} days after the account ends; the Customer must export it within that time. Suspension made
            in error gives the Customer a credit of {credit}.
            """,
            """
            Summary: Accounts are personal and can be blocked for unpaid fees or security threats.
            Who: {company} runs the service; the customer and its named users work with it.
            Must: Users do not share log-in details; the customer exports its data within {keep} days of the account's
                end.
            Unless: Notice of {days} days is not needed for security threats, and a mistaken suspension brings a credit
                of {credit}.
            Watch out: Fees keep running during a suspension.
            """,
            {
                "days|over": ["7|30", "10|45", "5|20"],
                "keep": ["14", "60", "90"],
                "credit": ["$50", "$120", "$75"],
            },
        ),
        Template(
            """
            {company2} may use the Beta Version free of charge until {date} for internal evaluation only. It is supplied
            as is, without warranty or support, and {company} may withdraw it at any time on {days} days' notice.
            {company2} shall report errors through the issue tracker and shall not publish test results without written
            consent. Use in live operation is prohibited, except for the modules listed in Annex {annex}, for which a
            fee of {fee} per month applies.
            """,
            """
            Summary: {company2} may try the beta version for free, but not in live operation.
            Who: {company} supplies the beta version; {company2} tests it.
            Must: Until {date}, {company2} uses it for internal evaluation, reports errors and publishes results only
                with written consent.
            Unless: Modules in Annex {annex} may run live for {fee} per month.
            Watch out: There is no warranty or support, and {company} can withdraw it on {days} days' notice.
            """,
            {
                "date": ["31 August 2026", "28 February 2027", "30 November 2026"],
                "days": ["3", "5", "10"],
                "annex": ["2", "3", "4"],
                "fee": ["€180", "€240", "€390"],
            },
        ),
    ],
    heldout=[
        Template(
            """
            The typeface bought from {company} may be used by up to 9 members of a single studio for print, logos and
            one website with at most 50,000 page views a month. Embedding it in an app calls for the extended package at
            €340. The studio keeps the invoice as proof of purchase.  Passing the font files to clients or printers is
            forbidden.
            """,
            """
            Summary: A studio may use the typeface in print, in logos and on a website, within limits.
            Who: {company} sells the typeface; the studio buys it.
            Must: The studio keeps to 9 members and 50,000 page views a month, keeps the invoice and pays €340 to embed
                the typeface in an app.
            Unless: None stated.
            Watch out: Even a printer may not be given the font files.
            """,
        ),
    ],
)

TOPICS = [IP_ASSIGNMENT, DATA_PROCESSING, PRIVACY_NOTICE, SOFTWARE_LICENCE]
