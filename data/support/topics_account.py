"""Account problems: signing in, passwords, two-step codes, locks, email address, deletion."""

from content import Ask, Then, Topic

LOGIN = Topic(
    name="login",
    empathy=[
        "I'm sorry you can't get into your account, that is frustrating when you have things to do.",
        "Being shut out of your own account is really annoying, and I'm sorry it happened.",
        "I'm sorry the sign-in page is giving you so much trouble.",
        "I understand how stressful it is when your own account will not let you in.",
        "Sorry about the trouble signing in, I know you just want to get on with your day.",
    ],
    plans=[
        [
            [
                "Check that your email address is spelled correctly and Caps Lock is off.",
                "Type your email address and password by hand, with Caps Lock off.",
                "Make sure you are using the email address you signed up with.",
            ],
            [
                "Choose Forgot password on the sign-in page and set a new password.",
                "Reset your password with the Forgot password link below the login button.",
            ],
            [
                "Sign in with the new password in a private browser window.",
                "Close the page, open it again and sign in with the new password.",
            ],
        ],
        [
            [
                "Delete the saved cookies for northwind.example and restart your browser.",
                "Clear the cookies for northwind.example, an old one can block the login.",
            ],
            [
                "Open the sign-in page again and type the password instead of using the saved one.",
                "Open a private window and type your password by hand.",
            ],
            [
                "If it is refused again, choose Forgot password and follow the link we send you.",
                "Still refused? Choose Forgot password and pick a new one.",
            ],
        ],
    ],
    asks=[
        Ask(
            "hi, my login stopped working this morning. it just says wrong email or password but i "
            "havent changed anything"
        ),
        Ask(
            (
                "Your site won't let me in!! I have a client call in ten minutes and all my notes are in "
                "there. Fix this."
            ),
            empathy=("I'm sorry you can't reach your notes right before a client call, that is really stressful."),
        ),
        Ask(
            (
                "Good afternoon. I am trying to sign in with {browser} on my {computer}, but the page simply "
                "reloads and asks for my password again. Could you tell me what I should do? Kind regards, "
                "{name}"
            ),
            empathy="I'm sorry the sign-in page keeps sending you round in circles in {browser}.",
            steps=[
                "In {browser}, clear the cookies for northwind.example, a stale one causes this loop.",
                "Allow cookies for our site and switch off any ad blocker on the page.",
                "Sign in again in a fresh window and tick Keep me signed in.",
            ],
        ),
        Ask("cant sign in on my {device}, keeps saying invalid password"),
        Ask(
            "I was logged out after the update and now it refuses my password. Any idea?",
            plan=0,
            then=Then(
                "I did reset it, but the app on my phone still wants the old password.",
                "Sorry, that is confusing when you have only just chosen a new password.",
                [
                    "In the app, open the menu and choose Sign out everywhere.",
                    "Delete the old password from your phone's password manager.",
                    "Open the app again and sign in with the new password.",
                ],
            ),
        ),
        Ask("login broken again??"),
        Ask(
            (
                "I've been a customer for six years and never had this. I type my password, press Sign in "
                "and nothing happens."
            ),
            plan=1,
        ),
        Ask(
            (
                "My daughter set up the account for me and I can't seem to get in. I'm not very good with "
                "computers, please explain it slowly."
            ),
            empathy="I'm sorry signing in is such a puzzle, and we will take it one step at a time.",
            steps=[
                "Go to northwind.example and click Sign in, at the top right of the page.",
                "Type the email address your daughter used, without any spaces.",
                "Click Forgot password, then open the mail we send and choose a new password.",
            ],
        ),
        Ask(
            (
                'Sign-in fails with "something went wrong". It works for {colleague} at the next desk, so it '
                "can't be the network."
            ),
            plan=1,
        ),
        Ask(
            (
                "It's {weekday} evening, my tax documents are due at midnight and I can't get into my "
                "account. Please hurry."
            ),
            plan=0,
            empathy=("I'm sorry you can't get at your tax documents with a midnight deadline coming, let's be quick."),
            then=Then(
                "The new password works but now it says my browser is not supported.",
                "How annoying to clear one hurdle and hit the next with the clock ticking, I'm sorry.",
                [
                    "Update your browser, or open northwind.example in a current Chrome or Firefox.",
                    "If you cannot update, sign in with the Northwind app on your phone.",
                ],
            ),
        ),
        Ask(
            (
                "Hi support team, {name} here. Since {date} I get thrown back to the login page without any "
                "message at all."
            ),
            plan=1,
        ),
        Ask("password is right, ive checked it ten times, still wont let me in"),
    ],
    heldout=[
        Ask(
            "I can't log in to my account.",
            empathy="I'm sorry you can't get into your account, that is frustrating when you need it.",
            steps=[
                "Check that your email address is spelled correctly and Caps Lock is off.",
                "Choose Forgot password on the sign-in page and open the link we email you.",
                "Set a new password, then sign in again in a private browser window.",
            ],
        ),
        Ask("every time i enter my passwrod the page says it doesnt recognise me, what now"),
    ],
)

RESET_MAIL = Topic(
    name="reset_mail",
    empathy=[
        "I'm sorry the reset email has not reached you, waiting for it is no fun.",
        "Waiting for a reset mail that never comes is frustrating, and I'm sorry about it.",
        "I'm sorry you are stuck without the reset link when you just want to get back in.",
        "Sorry about the missing password mail, it leaves you in an awkward spot.",
        "I can see why this is annoying, without that email you cannot go any further.",
    ],
    plans=[
        [
            [
                "Look in your spam, junk and promotions folders for a mail from Northwind.",
                "Search your whole mailbox, spam included, for noreply@northwind.example.",
            ],
            [
                "Add noreply@northwind.example to your contacts so that nothing filters it.",
                "Mark noreply@northwind.example as a safe sender in your mail settings.",
            ],
            [
                "Request the link once more and give it ten minutes.",
                "Choose Forgot password again, only once, and wait ten minutes.",
            ],
        ],
        [
            [
                "Check that you enter the address you signed up with, not a newer one.",
                "Try any other email address you may have signed up with.",
            ],
            [
                "Ask for one new link and use only the latest mail.",
                "Request a single new link, because each request cancels the one before.",
            ],
            [
                "If it is a work mailbox, ask your IT team to allow mail from northwind.example.",
                "With a work mailbox, ask your IT team whether our mail is being held back.",
            ],
        ],
    ],
    asks=[
        Ask("I asked for a password reset three times and no email ever arrives."),
        Ask("still waiting for the reset mail... its been an hour"),
        Ask("Where is my reset link? I've checked the inbox a hundred times. This is ridiculous."),
        Ask(
            "Hello, I requested a new password on {date} but have not received anything so far. My "
            "address has not changed. Thank you, {name}"
        ),
        Ask(
            "no reset email. nothing in inbox. help",
            plan=0,
            then=Then(
                "ok found it in spam but the link says expired",
                "How annoying to find it at last and then see it has expired, I'm sorry.",
                [
                    "Request one new link on the sign-in page.",
                    "Open the newest mail within thirty minutes, and look in spam first.",
                    "Mark it as not spam so that the next one lands in your inbox.",
                ],
            ),
        ),
        Ask(
            (
                'The reset page says "check your inbox" but there is nothing there. I use a company mailbox, '
                "if that matters."
            ),
            steps=[
                "Ask your IT team whether mail from northwind.example is held in quarantine.",
                "Have them add our domain to the list of allowed senders.",
                "Request the link again once they confirm, and use only the newest mail.",
            ],
        ),
        Ask("I forgot my pasword and your email to change it never shows up on my {device}"),
        Ask(
            (
                "My husband got his reset mail straight away, mine doesn't come at all. We're even with the "
                "same provider."
            ),
            then=Then(
                "Tried all of that. Still no mail after half an hour.",
                "I'm sorry you had to wait another half hour for nothing.",
                [
                    "Check that your mailbox is not full, because full mailboxes bounce our mail.",
                    "Look for a filter or blocked-sender rule that deletes our messages.",
                    "On the sign-in page, choose More options and get a code by text instead.",
                ],
            ),
        ),
        Ask(
            (
                "I have to hand in coursework through your app tonight and the password mail won't come. I'm "
                "panicking a bit."
            ),
            empathy="I'm sorry the mail is missing on the very night you have coursework to hand in.",
        ),
        Ask(
            (
                "The reset link came after ages but it's expired when I click it. Then I ask for another one "
                "and the same thing happens."
            ),
            empathy="I'm sorry the links keep expiring on you, that feels like running in circles.",
            steps=[
                "Wait fifteen minutes without asking for a new link, so that late mails can arrive.",
                "Request exactly one link and open it within thirty minutes.",
                "If clicking fails, copy the whole link into the address bar.",
            ],
        ),
        Ask("I clicked Forgot password and it said mail sent. Sent where? Not to me."),
    ],
    heldout=[
        Ask(
            ("The mail for choosing a new password never turns up, not even in the spam folder. What else can I try?"),
            steps=[
                "Try any other email address you may have signed up with.",
                "Check that your mailbox is not full and no filter deletes our messages.",
                "Request a single new link and give it ten minutes.",
            ],
        ),
    ],
)

TWO_FACTOR = Topic(
    name="two_factor",
    empathy=[
        "I'm sorry the security code is keeping you out instead of keeping you safe.",
        "It is maddening when the right code is refused, and I'm sorry it happened to you.",
        "Sorry about the trouble with your six-digit code, let's get you past it.",
        "I understand the frustration, a code that does not work leaves you stuck at the door.",
        "I'm sorry the two-step check is being so stubborn.",
    ],
    plans=[
        [
            [
                "Set the clock of your phone to automatic, codes fail when the time is off.",
                "Turn on automatic date and time on your phone, then open the authenticator again.",
            ],
            [
                "Wait for a fresh code and enter it within thirty seconds, without spaces.",
                "Type the next new code at once, before it changes.",
            ],
            [
                "If it is refused, choose Use a backup code and enter one you saved.",
                "Still refused? Choose Try another way and use one of your backup codes.",
            ],
        ],
        [
            [
                "Make sure the authenticator entry you use says Northwind and shows your email address.",
                "Check in your authenticator that you are reading the Northwind entry, not another one.",
            ],
            [
                "Choose Try another way and sign in with a backup code.",
                "Sign in once with a backup code from the list you saved.",
            ],
            [
                "Open Settings > Security and set up the authenticator again with a new QR code.",
                "In Settings > Security, remove the authenticator and scan a new QR code.",
            ],
        ],
    ],
    asks=[
        Ask("the 6 digit code from my authenticator is always rejected"),
        Ask(
            "I type the code, it says invalid. I wait, type the new one, invalid. Over and over. I'm "
            "losing my patience here!"
        ),
        Ask(
            (
                "Hi, I bought a new phone last week and my authenticator app is empty on it. How do I get in "
                "now? Thanks, {name}"
            ),
            empathy="A new phone should be a joy, so I'm sorry it left you without your codes.",
            steps=[
                "On the code page, choose Try another way and enter a backup code.",
                "No backup codes? Choose Recover by email and confirm the link we send.",
                "Once inside, open Settings > Security and scan the QR code with the new phone.",
            ],
            then=Then(
                "I'm in! But where do I get new backup codes? I used the last one.",
                "Good thinking, it is an uneasy feeling to have no spare codes left.",
                [
                    "Open Settings > Security and choose Backup codes.",
                    "Press Create new codes, which makes any old ones useless.",
                    "Print the list or keep it in a password manager, not on the same phone.",
                ],
            ),
        ),
        Ask("two factor code not working on {device}, yesterday it was fine"),
        Ask(
            "Text message with the login code doesn't arrive. I'm travelling abroad, could that be why?",
            empathy="I'm sorry the codes are not reaching you abroad, that is awkward on a trip.",
            steps=[
                "Check that roaming is on and your phone can receive other texts.",
                "Choose Try another way and have the code sent by email.",
                "Later, switch to an authenticator app in Settings > Security, it needs no signal.",
            ],
            then=Then(
                "Email code worked. Can I set up the authenticator from here, without my SIM card?",
                "I understand you would rather not depend on text messages for the rest of your trip.",
                [
                    "Open Settings > Security and choose Authenticator app.",
                    "Scan the QR code with the app, any WiFi is enough for that.",
                    "Enter the six digits once and save the backup codes it shows.",
                ],
            ),
        ),
        Ask("2fa says wrong code every time, what am i doing wrong"),
        Ask(
            "My code generator and your website clearly disagree. The numbers are right, I even had "
            "{colleague} read them out to me."
        ),
        Ask(
            ("My phone was stolen on {weekday} and it had my codes on it. I need to get in AND keep the thief out."),
            empathy="I'm so sorry your phone was stolen, I understand you want your account safe first.",
            steps=[
                "Sign in on a computer with a backup code, under Try another way.",
                "Open Settings > Security and choose Sign out everywhere.",
                "Remove the stolen phone, change your password and add a new device.",
            ],
        ),
        Ask(
            (
                "Your extra security step rejects me. I'm 71 and I followed the instructions exactly, so "
                "please don't tell me I mistyped it."
            ),
            plan=0,
        ),
        Ask("Could you help me with the verification code? I enter it and the page only shakes and goes red."),
        Ask(
            (
                "{weekday} it worked, today each code gets refused. I have payroll to run, so I need a fix "
                "quickly, please."
            ),
            empathy="I'm sorry the codes fail today of all days, with payroll waiting.",
        ),
    ],
    heldout=[
        Ask(
            "authenticator numbers are refused since i came back from holiday, phone still the same",
            plan=0,
            then=Then(
                "Setting the clock did it, thanks! Should I change anything so this never happens again?",
                "I'm glad you are back in, and I understand you do not want a second round of this.",
                [
                    "Leave date and time on automatic, also when you travel.",
                    "Save a list of backup codes under Settings > Security > Backup codes.",
                    "Add a second device there, so that one phone is not your only key.",
                ],
            ),
        ),
    ],
)

ACCOUNT_LOCKED = Topic(
    name="account_locked",
    empathy=[
        "I'm sorry your account is locked, that is a nasty surprise.",
        "A lock notice is always worrying, and I'm sorry you had to see it.",
        "I understand how upsetting it is to find your account locked when you need it.",
        "Sorry about the lock, it protects your data but I know it is a nuisance.",
        "I'm sorry our security lock has caught you out.",
    ],
    plans=[
        [
            [
                "Wait thirty minutes without trying again, the lock then opens by itself.",
                "Stop trying for thirty minutes, because each attempt starts the lock again.",
            ],
            [
                "Open the mail called Your account was locked and click Unlock now.",
                "Look for our mail with the subject Your account was locked and press Unlock now.",
            ],
            [
                "Choose a new password that you do not use anywhere else.",
                "Set a new password straight after, and do not reuse an old one.",
            ],
        ],
        [
            [
                "Click Unlock my account on the lock page and confirm your email address.",
                "On the lock page, choose Verify it is me and follow the link we email you.",
            ],
            [
                "Set a new password that is easy for you to type but hard to guess.",
                "Choose a new password right after that, one you use nowhere else.",
            ],
            [
                "Check Settings > Security > Recent activity and sign out any device you do not know.",
                "Look at Recent activity in Settings > Security and remove strange devices.",
            ],
        ],
    ],
    asks=[
        Ask("My account is locked and I did nothing wrong."),
        Ask('it says "too many attempts, account locked". how long does that last', plan=0),
        Ask(
            "WHY did you lock my account? I pay for this service and I have invoices to send out TODAY.",
            empathy="I'm sorry the lock is holding up invoices that have to go out today.",
        ),
        Ask(
            (
                "Dear team, since {date} I only see a notice that my account was locked for security "
                "reasons. Could you kindly tell me how to have it opened again? Yours, {name}"
            ),
            plan=1,
            then=Then(
                "Thank you, it is open. Recent activity shows a phone I have never owned, though.",
                "That is an unsettling thing to find, and I'm sorry you have to deal with it.",
                [
                    "Choose Sign out next to that phone in Recent activity.",
                    "Change your password once more, on a device you trust.",
                    "Switch on two-step sign-in under Settings > Security.",
                ],
            ),
        ),
        Ask("account blocked, please unblock asap"),
        Ask(
            (
                "My little one played with my {device} and hammered in the wrong PIN until everything "
                "locked. Sorry! How do I undo it?"
            ),
            empathy="No need to apologise, little fingers are fast and I'm sorry you ended up locked out.",
        ),
        Ask(
            (
                "I get a red banner with a padlock that says my account is suspended for unusual activity. "
                "Is somebody trying to hack me??"
            ),
            plan=1,
            empathy="That red banner is alarming, and I'm sorry it gave you such a fright.",
        ),
        Ask("locked out after 5 tries, i was just using an old pasword i think", plan=0),
        Ask(
            (
                "We share one account at the front desk and after the shift change on {weekday} it was "
                "locked. Nobody can check in guests."
            ),
            empathy="I'm sorry the whole front desk is stuck behind one locked account.",
            steps=[
                "Ask everyone to stop signing in for thirty minutes.",
                "Have the account owner click Unlock now in the mail we sent.",
                "Set one new password, then give each person a login under Settings > Team.",
            ],
            then=Then(
                "Nobody knows who the account owner is, she left years ago.",
                "I see the difficulty, an owner who left cannot press any button for you.",
                [
                    "Use Verify it is me on the lock page with the hotel's email address.",
                    "Send us a short letter with your company stamp to name a new owner.",
                    "Add a second owner under Settings > Team once you are in.",
                ],
            ),
        ),
        Ask('Apparently I have been locked out "for my own protection". Lovely. Can you let me back in now?'),
        Ask("tried my old password from memory a few times and now im blocked on {device}", plan=0),
    ],
    heldout=[
        Ask(
            (
                "I mistyped my password a few times after the holidays and now the whole account is frozen. "
                "Can you open it again?"
            ),
            plan=0,
        ),
    ],
)

CHANGE_EMAIL = Topic(
    name="change_email",
    empathy=[
        "I understand you want your account tied to an address you actually use.",
        "I'm sorry the old address is still getting in your way.",
        "I see why you want the right address on your account, a wrong one only causes trouble.",
        "I can see how awkward it is to have the wrong email address on file.",
        "Switching to a new email address is enough work already, so I'm sorry this part was unclear.",
    ],
    plans=[
        [
            [
                "Open Settings > Profile and click the pencil next to your email address.",
                "Go to Settings > Profile and choose Change email.",
            ],
            [
                "Enter the new address and your current password.",
                "Type the new address twice and confirm with your password.",
            ],
            [
                "Click the link we send to the new address within one day.",
                "Open the confirmation mail in the new inbox and press Confirm.",
            ],
        ],
        [
            [
                "Sign in with the old address, it stays valid until the change is confirmed.",
                "Keep using the old address to sign in until the new one is confirmed.",
            ],
            [
                "In Settings > Profile, add the new address as a second one.",
                "Choose Add address in Settings > Profile and type the new one.",
            ],
            [
                "Confirm the link we send there, then press Make primary.",
                "Once it is confirmed, set it as primary and remove the old one.",
            ],
        ],
    ],
    asks=[
        Ask("How do I change the email address on my account?"),
        Ask("new email, how to update it"),
        Ask(
            ("I got married and have a new name and a new mail address. Where can I change the address you write to?"),
            empathy="Congratulations on your wedding, and I understand you want the new address everywhere.",
        ),
        Ask(
            "You keep writing to an address I haven't used since 2019. I've told you twice already!",
            empathy="I'm sorry our mails kept going to an address you gave up long ago.",
        ),
        Ask(
            (
                "I leave my job on {weekday} and the account runs on my work mail. How do I move it to a "
                "private one before they shut it off?"
            ),
            empathy="Leaving a job is busy enough, so I understand you want this moved in time.",
            then=Then(
                "Too late, they closed the work mailbox this morning and I can't confirm anything.",
                "I'm sorry the mailbox was gone before you could finish the change.",
                [
                    "Sign in with your old address and password, which still work.",
                    "In Settings > Profile, choose I cannot open my old mailbox.",
                    "Upload a photo of your ID and enter your private address.",
                ],
            ),
        ),
        Ask("hey, typo in my email when i signed up, it says gmial instead of gmail lol. can i fix that"),
        Ask(
            "I'd like all order mails to go to a different address from now on, please. Best wishes, {name}",
            plan=0,
        ),
        Ask("Tried to switch my mail address on my {device} but I can't find where."),
        Ask(
            "My provider is closing down at the end of {month}, so I have to use another email address "
            "for my login with you."
        ),
        Ask("we renamed our company and all our addresses changed. how do i update mine in northwind"),
        Ask(
            "The address on my account has my old surname in it and I'd rather not see it any more.",
            empathy="I understand you would rather not be greeted by your old name each time.",
        ),
    ],
    heldout=[
        Ask("I no longer use the address I registered with. Can I swap it for another one without losing my files?"),
    ],
)

DELETE_ACCOUNT = Topic(
    name="delete_account",
    empathy=[
        "I'm sorry to see you go, and I understand you want your account properly removed.",
        "I understand your wish to have everything deleted, and closing an account should be simple.",
        "Sorry that leaving us has been harder than it should be.",
        "It is a pity you are leaving, but your data is yours and I respect that.",
        "I understand, nobody wants an old account lying around.",
    ],
    plans=[
        [
            [
                "Save what you want to keep with Settings > Privacy > Export data.",
                "Download your files first, they cannot be brought back later.",
            ],
            [
                "Open Settings > Privacy, scroll down and choose Delete account.",
                "Go to Settings > Privacy and click Delete account at the bottom.",
            ],
            [
                "Confirm with your password, and all data is erased after fourteen days.",
                "Enter your password to confirm, you then have fourteen days to change your mind.",
            ],
        ],
        [
            [
                "End any running plan under Settings > Billing, so nothing more is charged.",
                "Cancel your plan in Settings > Billing if you still have one.",
            ],
            [
                "Choose Delete account in Settings > Privacy.",
                "Then open Settings > Privacy and press Delete account.",
            ],
            [
                "Click the link in the mail we send, your data is gone fourteen days later.",
                "Confirm the link in our mail, we then erase everything within fourteen days.",
            ],
        ],
    ],
    asks=[
        Ask("I want to delete my account and all my data."),
        Ask("how do i close my account for good"),
        Ask(
            (
                "Delete everything you have on me. I don't want to be asked why, I don't want a discount, "
                "just delete it."
            ),
            empathy="I understand, no questions asked, and I'm sorry we did not make this easier.",
        ),
        Ask(
            (
                "Hello, I no longer need the service since I retired. Please tell me how to remove my "
                "account. Thank you for the good years, {name}"
            ),
            empathy="Thank you for the good years and happy retirement, we are sorry to see you go.",
        ),
        Ask(
            "cant find the delete button anywhere on my {device}???",
            empathy="I'm sorry the delete button is so well hidden on your {device}.",
        ),
        Ask(
            "I created two accounts by mistake. I'd like to get rid of the one I never use.",
            empathy="Two accounts get mixed up easily, so I understand you want one gone.",
            steps=[
                "Sign in to the account you do not need and check that it is empty.",
                "Open Settings > Privacy and choose Delete account.",
                "Confirm with its password, your other account is not touched.",
            ],
        ),
        Ask(
            (
                "Under data protection law I request the erasure of my personal data. Please confirm how "
                "this works and how long it takes."
            ),
            then=Then(
                "Are my past invoices deleted as well? My accountant may need them.",
                "It is wise to ask before it is too late, I know tax papers cause worry.",
                [
                    "Download your invoices under Settings > Billing > Invoices before you confirm.",
                    "The law makes us keep copies for ten years, locked away from daily use.",
                    "If you need one later, send us its number and your old address.",
                ],
            ),
        ),
        Ask(
            "My mother passed away and I'd like to close her Northwind account. I have her papers here.",
            empathy="I'm very sorry for your loss, and we will make this as easy as we can.",
            steps=[
                "Send us a copy of the death certificate and her account email address.",
                "Tell us whether you would like a copy of her files first.",
                "We then end all payments and delete the account within five days.",
            ],
        ),
        Ask("pls remove my acount, i dont use it anymore"),
        Ask("I signed up on {date} only to test the app and would now like to be removed completely, files included."),
        Ask(
            "My therapist says less screen time, so this account has to go. How do I delete it?",
            empathy="Good for you, and I understand you want this account gone without a fuss.",
        ),
    ],
    heldout=[
        Ask("What is the quickest way to get my profile wiped from your system? I switched to another provider."),
    ],
)

TOPICS = [LOGIN, RESET_MAIL, TWO_FACTOR, ACCOUNT_LOCKED, CHANGE_EMAIL, DELETE_ACCOUNT]
