"""Money problems: charges, refunds, plans, invoices, promo codes, declined cards, gift cards."""

from content import Ask, Then, Topic

CHARGED_TWICE = Topic(
    name="charged_twice",
    empathy=[
        "I'm sorry you were charged twice, nobody likes surprises on a bank statement.",
        "Seeing the same charge two times is alarming, and I'm sorry for the worry.",
        "I understand the shock of a double charge, let's get your money straight.",
        "I'm sorry about the second charge, your money belongs in your account.",
        "That double payment should not be there, and I'm sorry for the trouble.",
    ],
    plans=[
        [
            [
                "Check whether one of the two entries is marked pending, those vanish within three days.",
                "See if your bank shows one charge as pending, it then drops off within three days.",
            ],
            [
                "Open Settings > Billing > Payments and look for two lines with the same date.",
                "Compare with Settings > Billing > Payments, which lists every charge we made.",
            ],
            [
                "Press Report a problem next to the extra one, and we refund it in five days.",
                "Choose Dispute on the extra line, the money is back within five working days.",
            ],
        ],
        [
            [
                "Make sure there is no second account under another of your email addresses.",
                "Search your mail for two receipts, a second account would explain two charges.",
            ],
            [
                "Take a screenshot of both charges with date and amount.",
                "Note the date and the last four digits of the card for both charges.",
            ],
            [
                "Send them through Settings > Billing > Report a problem, and we refund the extra one.",
                "Upload this under Settings > Billing > Report a problem for a refund within five days.",
            ],
        ],
    ],
    asks=[
        Ask("You charged me twice this month!"),
        Ask(
            (
                "Hi there, my card statement shows {amount} from Northwind two times on {date}. I only have "
                "one subscription. Could you look into it? {name}"
            ),
            empathy="I'm sorry {amount} was taken twice on {date}, that should not happen.",
        ),
        Ask(
            ("I double checked with my bank: you people took £640 TWICE. Now my rent bounced. I am furious."),
            empathy="I'm truly sorry the double charge of £640 made your rent bounce.",
            steps=[
                "Open Settings > Billing > Payments and press Report a problem on the extra charge.",
                "Tick Urgent, we then return the money within one working day.",
                "Add your bank's fee as a photo, and we pay that back too.",
            ],
        ),
        Ask(
            ("Why is there a second charge on my account? I clicked Pay once. Well, maybe twice, the page was slow."),
            plan=0,
        ),
        Ask(
            "got billed 2x for order {order}",
            empathy="I'm sorry order {order} was billed twice.",
            steps=[
                "Open My orders > {order} and check that it shows one order, not two.",
                "See if your bank lists one charge as pending, it then vanishes within three days.",
                "If both are booked, press Report a problem in the order for a refund.",
            ],
            then=Then(
                "both are booked, not pending. how long till i have the money",
                "I understand you want to know when your money is back, waiting is no fun.",
                [
                    "Press Report a problem today, we send the refund within one working day.",
                    "Your bank needs three to five more days to show it.",
                    "Track it under Settings > Billing > Refunds.",
                ],
            ),
        ),
        Ask(
            "My wife and I both see the charge, her card and mine. We only need one plan between us.",
            empathy="I'm sorry you are both paying when one plan would do for the two of you.",
            steps=[
                "Decide whose account stays and open Settings > Billing in the other one.",
                "Choose Cancel plan there, then Report a problem to get this month back.",
                "Invite each other under Settings > Team to share the remaining plan.",
            ],
        ),
        Ask(
            ("I updated my card on {date} and afterwards the monthly fee was taken from the old AND the new one."),
            plan=0,
            then=Then(
                "There is no old card listed any more, but that's the one that was charged.",
                "I see why that is puzzling, a card you removed should be left alone.",
                [
                    "Open Settings > Billing > Payments and choose the charge on the old card.",
                    "Press Report a problem and type the last four digits of that card.",
                    "Tell your bank not to pass old card numbers on to shops.",
                ],
            ),
        ),
        Ask("hello, i think theres been a mistake, {amount} left my account twice within a minute"),
        Ask(
            (
                "I'm the treasurer of a small charity, and {month} shows two identical payments to you. I "
                "have to explain every penny to our members."
            ),
            empathy="I'm sorry a double payment gives you explaining to do in front of your members.",
        ),
    ],
    heldout=[
        Ask("My bank app lists your monthly fee on two lines. Surely I should pay it only once?"),
    ],
)

REFUND = Topic(
    name="refund",
    empathy=[
        "I'm sorry your refund is taking longer than you hoped.",
        "Waiting for your own money is frustrating, and I'm sorry about that.",
        "I understand you would like your money back soon, and you should have it.",
        "Sorry that you have to chase this refund at all.",
        "It is no fun to be out of pocket, so I'm sorry about the wait.",
    ],
    plans=[
        [
            [
                "Open My orders and check that the return is marked Received.",
                "Look in My orders whether your return shows as Received.",
                "Open My orders > {order} and check that the return is marked Received.",
            ],
            [
                "Count five working days from that date, banks need that long.",
                "Allow your bank five working days after that date to book the money.",
            ],
            [
                "If it is later, press Where is my refund and we trace the payment.",
                "Past that date, choose Where is my refund in the order to start a trace.",
            ],
        ],
        [
            [
                "Check the card or account you paid with, refunds always go back the same way.",
                "Look at the statement of the card you paid with, the refund goes back there.",
            ],
            [
                "Open Settings > Billing > Refunds and note the reference number.",
                "Find the refund reference under Settings > Billing > Refunds.",
            ],
            [
                "Give that number to your bank, or press Trace next to it and we follow up.",
                "Press Trace next to it, we then ask the bank and mail you the answer.",
            ],
        ],
    ],
    asks=[
        Ask("Where is my refund? I sent the {item} back two weeks ago."),
        Ask("Still no money. Order {order}. You promised five days."),
        Ask(
            "Good morning, I returned order {order} on {date} and the tracking says it was delivered to "
            "you. May I ask when I can expect the refund of {amount}? Kind regards, {name}"
        ),
        Ask(
            "This is daylight robbery. You have the goods AND my {amount}. Send it back or I go to my bank.",
            empathy="I understand your anger, right now you have neither the goods nor your {amount}.",
        ),
        Ask(
            "Can I get my money back for the {item}? It works fine, I just don't like it.",
            empathy="I'm sorry the {item} was not what you hoped for.",
            steps=[
                "Open My orders within thirty days of delivery and press Return item.",
                "Choose I changed my mind and print the return label.",
                "Hand in the parcel, we refund you five days after it reaches us.",
            ],
            then=Then(
                "Do I have to pay for sending it back?",
                "That is a fair question, surprise fees would be annoying.",
                [
                    "Use the label from My orders, which is free for the first return.",
                    "Keep the receipt from the parcel shop as proof.",
                    "Send everything in one box, because a second parcel costs £3.50.",
                ],
            ),
        ),
        Ask(
            (
                "I was told on {weekday} that the refund had gone out, but my card has since been replaced "
                "with a new number. Is the money lost?"
            ),
            empathy="I understand the worry about a refund sent to a card you no longer have.",
            steps=[
                "Ask your bank first, most of them move such payments to the new card.",
                "Find the reference number under Settings > Billing > Refunds.",
                "If the money bounces, we see it within ten days and ask for your new details.",
            ],
        ),
        Ask(
            ("I paid half with a card and half with PayPal, only the card half was refunded. What about the rest?"),
            plan=1,
            empathy="I'm sorry only half of your money has come back so far.",
            then=Then(
                "PayPal shows nothing, not even under pending.",
                "I'm sorry PayPal still leaves you empty-handed.",
                [
                    "Look at your PayPal balance, a refund can land there instead of at your bank.",
                    "Open Settings > Billing > Refunds and copy the PayPal reference.",
                    "Press Trace next to it, we mail you the result the next working day.",
                ],
            ),
        ),
        Ask(
            "you refunded only {amount} but i paid more. why?",
            empathy="I'm sorry {amount} is less than you expected to get back.",
            steps=[
                "Open My orders, choose the return and read the line Refund details.",
                "Check whether delivery or a promo code was taken off there.",
                "If the sum is wrong, press Report a problem, and we send the rest.",
            ],
        ),
        Ask(
            ("It's been three weeks since {order} went back to you. I'm a student and I really need that {amount}."),
            empathy="I'm sorry you have been waiting three weeks for {amount} that you really need.",
        ),
    ],
    heldout=[
        Ask(
            "I dropped the return off at the parcel shop on {date} and have not seen a penny. When do I get paid back?"
        ),
    ],
)

CANCEL_SUBSCRIPTION = Topic(
    name="cancel_subscription",
    empathy=[
        "I'm sorry to see you go, and I understand that you want this done quickly.",
        "Cancelling should be easy, so I'm sorry if it was hard to find.",
        "I understand that the plan no longer suits you, and that is quite all right.",
        "Sorry that stopping your subscription is such a hassle.",
        "I'm sorry we could not keep you happy, and I respect your decision.",
    ],
    plans=[
        [
            [
                "Open Settings > Billing and choose Cancel plan.",
                "Go to Settings > Billing on the website and press Cancel plan.",
            ],
            [
                "Pick a reason, or skip that page, and press Confirm.",
                "Skip the offers and confirm at the bottom of the page.",
            ],
            [
                "Check for our mail, your plan then runs until the paid period ends.",
                "Keep the confirmation mail, you can use everything until the paid period is over.",
            ],
        ],
        [
            [
                "If you subscribed through the App Store or Google Play, cancel it there.",
                "Check where you signed up, app store subscriptions must be cancelled in the store.",
            ],
            [
                "Otherwise open Settings > Billing and press Cancel plan.",
                "If you signed up on our website, press Cancel plan under Settings > Billing.",
            ],
            [
                "Make sure the page then says Ends on, followed by a date.",
                "Look for the end date on the Billing page, it means nothing more is charged.",
            ],
        ],
    ],
    asks=[
        Ask("I want to cancel my subscription."),
        Ask("how to cancel"),
        Ask(
            (
                "Cancel my plan NOW. I've clicked through your website for half an hour and all I get are "
                "offers to stay."
            ),
            plan=0,
            empathy="I'm sorry you had to fight through half an hour of offers just to leave.",
        ),
        Ask(
            (
                "Hello, money is tight since I lost my job and I have to stop the monthly payment. What do I "
                "need to do? {name}"
            ),
            empathy="I'm sorry to hear about your job, and I understand that every payment counts now.",
            then=Then(
                "Is there a way to keep my files without paying?",
                "I understand you do not want to lose your work on top of everything else.",
                [
                    "Let the plan end, your account then becomes a free one by itself.",
                    "Keep your files under two gigabytes and all of them stay.",
                    "Download anything larger with Settings > Privacy > Export data.",
                ],
            ),
        ),
        Ask(
            "My trial ends on {weekday} and I don't want it to turn into a paid plan.",
            empathy="I understand you do not want to slip into a paid plan by accident.",
            steps=[
                "Open Settings > Billing and press End trial before {weekday}.",
                "Confirm it and look for the words Free plan on the page.",
                "Keep our mail as proof, your card is not charged.",
            ],
            then=Then(
                "There is no End trial button on my page.",
                "I'm sorry the button is missing just when you need it.",
                [
                    "Check where you started the trial, app store trials end in the store.",
                    "Make sure you are signed in with the address you used for the trial.",
                    "Open the page in a browser, the app does not show that button.",
                ],
            ),
        ),
        Ask(
            ("I cancelled in {month}, yet I was billed {amount} again yesterday. Cancel it for real this time."),
            empathy="I'm sorry you were billed {amount} for a plan you thought was long gone.",
            steps=[
                "Open Settings > Billing and see whether it says Active or Ends on.",
                "If it is active, press Cancel plan and wait for the confirmation mail.",
                "Press Report a problem next to the last charge, and we refund it.",
            ],
        ),
        Ask("I subscribed on my {device} and can't find any cancel button in the app.", plan=1),
        Ask(
            "We are closing the office at the end of {month}. I need to end our team plan, all nine seats.",
            empathy="Closing an office is never easy, so let's keep this part simple.",
            steps=[
                "Ask your team to save their files with Settings > Privacy > Export data.",
                "Sign in as the owner, open Settings > Billing and choose Cancel team plan.",
                "Confirm by mail, all nine seats then end with the paid period.",
            ],
        ),
        Ask(
            "hi can you tell me where to end my membership, moving abroad on {date}",
            empathy="Moving abroad is a lot to organise, so let's tick this one off quickly.",
        ),
    ],
    heldout=[
        Ask("I'd like to stop paying for the premium plan before it renews on {date}, how do I do that?"),
    ],
)

CHANGE_PLAN = Topic(
    name="change_plan",
    empathy=[
        "I understand you need a plan that fits, and it is annoying to search for it.",
        "Picking the right plan can be confusing, and I'm sorry it was not clearer.",
        "I see that your current plan no longer fits, so let's change that.",
        "Needs change, and switching to another plan should never be a chore.",
        "I'm sorry the plan page left you guessing.",
    ],
    plans=[
        [
            [
                "Open Settings > Billing and choose Change plan.",
                "Go to Settings > Billing, where your plan stands at the top, and press Change.",
            ],
            [
                "Compare the plans side by side and pick the one you want.",
                "Select the new plan and choose monthly or yearly payment.",
            ],
            [
                "Check the amount due today, unused days are taken off, then confirm.",
                "Confirm the price shown, which already counts the days you have paid for.",
            ],
        ],
        [
            [
                "Check your usage under Settings > Billing > Usage, so that the new plan is big enough.",
                "Look at Settings > Billing > Usage to see how much room you really need.",
            ],
            [
                "Press Change plan on the same page and choose the new one.",
                "Go back to Billing, press Change plan and pick the one that fits.",
            ],
            [
                "Confirm it, a bigger plan starts at once and a smaller one next month.",
                "Confirm, upgrades work right away and downgrades with the next bill.",
            ],
        ],
    ],
    asks=[
        Ask("How can I upgrade to the Pro plan?"),
        Ask("want to go from Pro back to Basic"),
        Ask(
            (
                "Dear support, our club has grown to twelve people and the Basic plan only allows five. "
                "Which plan should we move to, and how? Thanks, {name}"
            ),
            empathy="Congratulations on your growing club, I understand five seats are no longer enough.",
            then=Then(
                "We upgraded, but three of the new people still can't join.",
                "I'm sorry three of your members are still waiting outside.",
                [
                    "Open Settings > Team and check that the page shows free seats.",
                    "Press Resend next to the three names, old invitations do not update.",
                    "Ask them to open the newest mail on a computer.",
                ],
            ),
        ),
        Ask(
            "can i change from monthly to yearly payment? and does it get cheaper",
            empathy="I understand you would like to pay once a year and save a little.",
            steps=[
                "Open Settings > Billing, press Change plan and keep the plan you have.",
                "Switch from monthly to yearly, which saves you two months' fee.",
                "Check the amount due today and confirm, unused days are taken off.",
            ],
        ),
        Ask(
            "Your plan page is a mess. I just want more storage, what do I have to click?",
            empathy="I'm sorry our plan page made a simple wish for more storage so hard.",
        ),
        Ask(
            (
                "I chose the wrong plan when I signed up on {date}, I meant to take the small one. Can that "
                "still be changed?"
            ),
            empathy="It is easy to click the wrong plan, and I'm sorry you ended up with too much.",
        ),
        Ask(
            "switch plan on {device} not possible, button is grey",
            empathy="I'm sorry the button stays grey on your {device}.",
            steps=[
                "Sign in at northwind.example in a browser, the app cannot change every plan.",
                "Open Settings > Billing and press Change plan.",
                "If it is grey there too, ask the account owner, only owners can switch.",
            ],
        ),
        Ask(
            "I'm a student and heard there is a special rate. How do I get onto that plan?",
            empathy="I know every pound counts when you study, so good that you ask.",
            steps=[
                "Open Settings > Billing > Change plan and choose Student.",
                "Enter your university email address and click the link we send there.",
                "Confirm the new price, it stays in place for twelve months.",
            ],
            then=Then(
                "My university isn't on your list.",
                "I'm sorry your university is missing, that should not cost you the discount.",
                [
                    "Choose Not listed below the search field.",
                    "Upload a photo of your student card with name and date in view.",
                    "Wait for our mail, the student price starts as soon as we have checked it.",
                ],
            ),
        ),
        Ask(
            "Is it possible to pause for the summer and then continue on the same plan in September?",
            empathy="I understand you do not want to pay for a summer without using it.",
            steps=[
                "Open Settings > Billing and choose Pause plan.",
                "Pick one to three months, nothing is charged in that time.",
                "Your files stay safe, and the same plan starts again by itself.",
            ],
        ),
    ],
    heldout=[
        Ask("We need two more seats than our plan allows. What do I have to do to get the next bigger one?"),
    ],
)

INVOICE = Topic(
    name="invoice",
    empathy=[
        "I'm sorry you have to hunt for your invoice, paperwork is tedious enough.",
        "I understand your bookkeeping cannot wait for a missing invoice.",
        "Sorry about the missing paper, I know accountants have little patience.",
        "It is a nuisance when an invoice is not where you expect it, I'm sorry.",
        "I understand you need a proper invoice for your records.",
    ],
    plans=[
        [
            [
                "Open Settings > Billing > Invoices on the website.",
                "Sign in on the website and go to Settings > Billing > Invoices.",
            ],
            [
                "Pick the month you need and press Download PDF.",
                "Choose the month in the list and save it as a PDF.",
            ],
            [
                "Switch on Email invoices there, so that every new one comes by itself.",
                "Add your accountant's address under Send copies to, it gets each new one.",
            ],
        ],
        [
            [
                "Check first that your company details under Settings > Billing > Details are complete.",
                "Fill in company name, address and tax number under Settings > Billing > Details.",
            ],
            [
                "Open the Invoices tab and press Create again next to the month in question.",
                "Go to the Invoices tab and choose Create again for the one you need.",
            ],
            [
                "Download the new PDF, it replaces the old one and keeps its number.",
                "Save the new PDF, which keeps the number of the old one.",
            ],
        ],
    ],
    asks=[
        Ask("I need an invoice for {month}.", plan=0),
        Ask("where do i find my invoices", plan=0),
        Ask(
            (
                "Good afternoon, our accounts department requires a VAT invoice for the payment of {amount} "
                "made on {date}. Could you tell me where to get it? Kind regards, {name}"
            ),
            plan=0,
            then=Then(
                "The PDF is there, but our VAT number is missing on it.",
                "I'm sorry the invoice still is not what your accounts department needs.",
                [
                    "Enter your VAT number under Settings > Billing > Details and save.",
                    "Press Create again next to the invoice from {date}.",
                    "Download the new PDF, which now shows your number.",
                ],
            ),
        ),
        Ask(
            "invoice has the wrong company name on it, can u fix",
            empathy="I'm sorry the wrong company name is on your invoice.",
            steps=[
                "Open Settings > Billing > Details and correct the company name.",
                "Go to Invoices and press Create again next to the wrong one.",
                "Download the new PDF and delete the old one, the number stays the same.",
            ],
        ),
        Ask(
            (
                "Hi, I bought a {item} for work (order {order}) and my boss only pays me back if I hand in a "
                "proper bill."
            ),
            empathy="I understand you want your boss to pay you back for the {item}.",
            steps=[
                "Open My orders > {order} and choose Invoice.",
                "Enter your employer's name and address under Bill to.",
                "Press Download PDF and hand that in.",
            ],
        ),
        Ask(
            "Do you send paper invoices? I don't own a printer and my records are all in folders.",
            empathy="I understand you like to keep your records on paper.",
            steps=[
                "Open Settings > Billing > Invoices and choose Delivery.",
                "Select By post and check that your address is right.",
                "Press Save, from next month a paper copy comes free of charge.",
            ],
        ),
        Ask(
            "the download button for invoices does nothing in {browser}",
            empathy="I'm sorry the download button leaves you without your invoice in {browser}.",
            steps=[
                "Allow pop-ups for northwind.example in {browser}, the PDF opens in a new tab.",
                "Reload Settings > Billing > Invoices and press Download PDF again.",
                "If nothing opens, choose Email to me next to the invoice.",
            ],
        ),
        Ask(
            "Can you send me all bills of last year in one go? I really don't want to click twelve times.",
            empathy="I agree, clicking twelve times for one year of bills is no fun.",
            steps=[
                "Open Settings > Billing > Invoices and set the filter to last year.",
                "Tick the box at the top of the list to select them all.",
                "Press Download, you get one ZIP file with every PDF.",
            ],
        ),
        Ask(
            "Tax return is due on {weekday} and the only thing I'm missing is your invoice from {month}.",
            plan=0,
            empathy="I'm sorry our invoice is the last gap in your tax return.",
        ),
    ],
    heldout=[
        Ask(
            ("Could you please tell me how to get the receipt for my {month} payment? I need it for my expenses."),
            plan=0,
            then=Then(
                "Got it. Can future ones go straight to our accounts department?",
                "I understand you would rather not fetch each one by hand.",
                [
                    "Open Settings > Billing > Invoices and go to Send copies to.",
                    "Type the address of your accounts department and press Add.",
                    "Ask them to confirm the mail we send, copies then start with the next invoice.",
                ],
            ),
        ),
    ],
)

PROMO_CODE = Topic(
    name="promo_code",
    empathy=[
        "I'm sorry the promo code is not giving you the discount you were looking forward to.",
        "A code that fails at the last step is annoying, and I'm sorry about that.",
        "I understand you do not want to pay full price with a valid code in your hand.",
        "Sorry that your discount is not showing up at the checkout.",
        "It is disappointing when a discount does not work, I'm sorry.",
    ],
    plans=[
        [
            [
                "Type the code in capital letters and without spaces before or after it.",
                "Enter the code by hand, in capitals, because copying often adds a space.",
                "Type {code} by hand, in capital letters and without spaces.",
            ],
            [
                "Check the end date and the minimum spend that came with the code.",
                "Read the small print of the offer for its end date and minimum order.",
            ],
            [
                "Remove sale items from the basket, codes do not count for those.",
                "Take out any other code first, only one works per order.",
            ],
        ],
        [
            [
                "Sign in before you pay, most codes are tied to your account.",
                "Make sure you are signed in with the address that received the code.",
            ],
            [
                "Press Apply after typing the code and wait until the total changes.",
                "Enter the code under Basket > Promo code and press Apply.",
            ],
            [
                (
                    "If the total stays the same, order anyway and report the code within a day, we refund "
                    "the difference."
                ),
                "Total unchanged? Send us a screenshot, and we take the discount off by hand.",
            ],
        ],
    ],
    asks=[
        Ask("My promo code {code} doesn't work."),
        Ask(
            "code says expired but the email said its valid till {date}",
            empathy="I'm sorry the code is refused although your email says it runs until {date}.",
            steps=[
                "Sign in with the address that got the email, other accounts see it as expired.",
                "Type the code by hand in capitals, because copying often adds a space.",
                "Still expired? Forward us that email, and we renew the code for you.",
            ],
        ),
        Ask(
            (
                "I put {code} in the box, pressed Apply and the price did not move a penny. What's the point "
                "of sending me codes then?"
            ),
            plan=0,
        ),
        Ask(
            (
                "Hi! I forgot to enter my discount code with order {order}. Can it be added afterwards? "
                "Thanks a lot, {name}"
            ),
            empathy="Oh, that is easily forgotten, and I understand you would still like your discount.",
            steps=[
                "Open My orders > {order} within 24 hours of ordering.",
                "Choose Add promo code and type the code in capitals.",
                "Press Save, the difference goes back to your card within five days.",
            ],
            then=Then(
                "It says the order is already packed and can't be changed.",
                "I'm sorry we packed faster than you could add the code.",
                [
                    "Leave the order as it is, so that it arrives on time.",
                    "Reply to the order mail with your code and the number {order}.",
                    "We refund the discount by hand within three working days.",
                ],
            ),
        ),
        Ask(
            (
                "My friend {colleague} used your referral link, so both of us should get ten pounds off. I "
                "see nothing at the checkout."
            ),
            empathy="I'm sorry the ten pounds you earned with {colleague} are not showing.",
            steps=[
                "Ask {colleague} whether the first order is paid, only then does the bonus start.",
                "Open Settings > Billing > Credits, where the ten pounds appear after one day.",
                "Tick Use credits at the checkout, they are not taken off by themselves.",
            ],
        ),
        Ask(
            (
                'Your newsletter offered 25% for new customers. I am a new customer. It says "not eligible". '
                "Explain, please."
            ),
            plan=1,
        ),
        Ask(
            "where do i put the promo code on my {device}? theres no field",
            empathy="I'm sorry the code field is so hard to find on your {device}.",
            steps=[
                "Put the items in your basket and tap Checkout.",
                "Scroll below the delivery address and tap the line Promo code or voucher.",
                "Type the code, tap Apply and check that the total goes down.",
            ],
        ),
        Ask(
            "I have two codes, {code} and one from my birthday mail. The shop accepts only one of them.",
            empathy="I understand you had hoped to use both of your codes at once.",
            steps=[
                "Use only one code per order, the checkout cannot add two together.",
                "Try {code} first, note the total, then swap it for the birthday code.",
                "Keep the better one and save the other for your next order.",
            ],
        ),
        Ask(
            "The voucher from the leaflet in my last parcel comes back as unknown.",
            empathy="I'm sorry the voucher from our leaflet is not recognised.",
            steps=[
                "Type it in capitals, and try zero instead of the letter O.",
                "Check the end date on the back of the leaflet.",
                "Still unknown? Send us a photo of it, and we issue a new code.",
            ],
        ),
    ],
    heldout=[
        Ask("I typed in the discount from your birthday mail but I am still asked for the full price."),
    ],
)

CARD_DECLINED = Topic(
    name="card_declined",
    empathy=[
        "I'm sorry your payment was turned down, that is awkward when the card is fine.",
        "A declined card is unpleasant, and I'm sorry it happened at our checkout.",
        "I understand the annoyance when a payment fails for no visible reason.",
        "Sorry that paying us is harder than it should be.",
        "I'm sorry the payment keeps failing when all you want is to finish.",
    ],
    plans=[
        [
            [
                "Check the card number, end date and security code for a typing slip.",
                "Type the card details again by hand, including the three digits on the back.",
            ],
            [
                "Make sure the billing address is exactly the one your bank has.",
                "Compare the billing address with the one your bank knows.",
            ],
            [
                "Try again and approve the payment in your bank's app when it asks.",
                "Keep your banking app open, many banks want you to approve the payment there.",
            ],
        ],
        [
            [
                "Ask your bank whether it blocked the payment, online limits are often the cause.",
                "Check the online spending limit of your card in your banking app.",
            ],
            [
                "Wait an hour before the next attempt, several in a row look suspicious.",
                "Give it an hour before you try again, since many attempts trigger a block.",
            ],
            [
                "If it fails again, choose PayPal or bank transfer under Payment method.",
                "Use another card or PayPal in the meantime, under Settings > Billing > Payment methods.",
            ],
        ],
    ],
    asks=[
        Ask("My card was declined but there is plenty of money on it."),
        Ask("Your shop rejects my Visa. It works everywhere else, so the fault is clearly on your side."),
        Ask(
            "Hello, I would like to pay for the {item} in my basket, but after entering the card I get "
            '"payment not authorised". What could be the reason? Regards, {name}'
        ),
        Ask(
            "subscription renewal on {date} didnt go through, will i lose my files??",
            empathy="I understand the worry about your files, and none of them are lost.",
            steps=[
                "Open Settings > Billing > Payment methods and check the end date of your card.",
                "Update the card or add another one, then press Pay now.",
                "Do it within fourteen days, your files stay available all that time.",
            ],
            then=Then(
                "updated the card but theres still a red banner about the payment",
                "I'm sorry that red banner is still giving you a fright.",
                [
                    "Press Pay now once, a new card alone does not settle the old bill.",
                    "Sign out and in again so that the banner can refresh.",
                    "Check Settings > Billing > Payments for the word Paid.",
                ],
            ),
        ),
        Ask("I got a new bank card and now I can't pay for anything in your app."),
        Ask(
            "Checkout hangs at the step where my bank is supposed to send me a code on my {device}.",
            empathy="I'm sorry the payment gets stuck while you wait for the code from your bank.",
            steps=[
                "Check with your bank that it has your current phone number.",
                "Open your banking app before you press Pay and allow its notifications.",
                "Pay again on your {device}, with pop-ups allowed for the bank's window.",
            ],
        ),
        Ask(
            (
                "Tried to buy a {item} as a birthday present, and the payment is refused every time. The "
                "birthday is on {weekday}!"
            ),
            empathy="I'm sorry the birthday present is held up by a refused payment.",
        ),
        Ask('it wont take my credit card, says "do not honor"?'),
        Ask(
            ("I'm embarrassed to ask, but why would a card be turned down when I used the same one last month?"),
            empathy="Please do not be embarrassed, this happens often and is rarely your fault.",
        ),
    ],
    heldout=[
        Ask("I'm trying to pay and the page tells me my bank refused it, yet the bank says everything is in order."),
    ],
)

GIFT_CARD = Topic(
    name="gift_card",
    empathy=[
        "I'm sorry the gift card is causing trouble instead of joy.",
        "A present should be easy to use, so I'm sorry this one is not.",
    ],
    plans=[
        [
            ["Scratch the silver field fully and read the sixteen characters in good light."],
            ["Enter them under Settings > Billing > Gift cards, with zero and O told apart."],
            ["Press Redeem, the balance then comes off your next order by itself."],
        ],
    ],
    asks=[],
    heldout=[
        Ask("I got a Northwind gift card for my birthday and the code is not accepted. What should I do?"),
        Ask(
            "gift card balance shows 0 but i never used it",
            empathy="I'm sorry your gift card looks empty although you never used it.",
            steps=[
                "Open Settings > Billing > Gift cards and check that the card is listed.",
                "Look at its history, an order in your family may have used it.",
                "If the history is empty, send us a photo of both sides of the card.",
            ],
        ),
    ],
)

TOPICS = [
    CHARGED_TWICE,
    REFUND,
    CANCEL_SUBSCRIPTION,
    CHANGE_PLAN,
    INVOICE,
    PROMO_CODE,
    CARD_DECLINED,
    GIFT_CARD,
]
