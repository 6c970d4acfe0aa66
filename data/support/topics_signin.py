"""The most common problem, not getting in: many ways to say it and one answer in few wordings.

The topic is `login`, like the one in `topics_account.py`, which holds the rarer answers and the held-out phrasings.
"""

from content import Ask, Topic

APP = [
    "Check that your email address is spelled correctly, without a space or capital letter.",
    "Choose Forgot password on the sign-in page and open the link we email you.",
    "Set a new password and sign in on our website first, then in the app.",
]
APP_AGAIN = [
    "Check that your email address is spelled correctly and Caps Lock is off.",
    "On the sign-in page, choose Forgot password and open the link we email you.",
    "Set a new password, sign in on our website and then in the app.",
]
OTHER_EMAIL = [
    "Try every email address you may have signed up with, and check that Caps Lock is off.",
    "Choose Forgot password on the sign-in page and open the link we email you.",
    "Set a new password, then sign in again in a private browser window.",
]

SIGN_IN = Topic(
    name="login",
    empathy=[
        "I'm sorry you can't get into your account, I know how frustrating that is.",
        "I'm sorry you can't get into your account, we will help you back in.",
        "I'm sorry you can't get into your account, let's get you signed in again.",
        "I'm sorry you can't get into your account, that must be stressful.",
        "I'm sorry you can't sign in to your account, that is really frustrating.",
        "I'm sorry you can't log in, I know you need your account.",
        "I'm sorry you can't sign in right now, I understand how annoying that is.",
        "I'm sorry your account will not let you in, that is frustrating.",
        "I'm sorry you are having trouble getting into your account, let's fix that.",
        "I'm sorry you can't get in, being shut out of your account is frustrating.",
    ],
    plans=[
        [
            [
                "Check that your email address is spelled correctly and Caps Lock is off.",
                "Make sure your email address is spelled correctly and Caps Lock is off.",
                "Check the spelling of your email address and that Caps Lock is off.",
            ],
            [
                "Choose Forgot password on the sign-in page and open the link we email you.",
                "On the sign-in page, choose Forgot password and open the link we email you.",
                "Choose Forgot password on the sign-in page, then open the link in our email.",
            ],
            [
                "Set a new password, then sign in again in a private browser window.",
                "Set a new password and sign in again in a private window.",
                "Set a new password, then sign in again on our website in a private window.",
            ],
        ],
    ],
    asks=[
        Ask("cant login"),
        Ask("My login does not work any more."),
        Ask("Unable to sign in since this morning"),
        Ask("sign in not working"),
        Ask("How do I get back into my account?"),
        Ask("help i cannot get into my northwind account"),
        Ask("Signing in fails every time I try."),
        Ask("Login problem, please help."),
        Ask("I am not able to log in. Kind regards, {name}"),
        Ask("Why can't I sign in any more? Nothing has changed on my side."),
        Ask(
            "The site says my password is wrong.",
            empathy="I'm sorry you can't get into your account, it is frustrating when your password is refused.",
        ),
        Ask(
            "wrong password, wrong password, wrong password. what is going on",
            empathy="I'm sorry you can't get into your account, reading that again and again is annoying.",
        ),
        Ask(
            "password not accepted",
            empathy="I'm sorry you can't get into your account because your password is not accepted.",
        ),
        Ask(
            "it wont take my password",
            empathy="I'm sorry your password is not accepted, I know how frustrating that is.",
        ),
        Ask(
            "Hi, my password doesn't work. What can I do? Thanks, {name}",
            empathy="I'm sorry your password does not work, let's get you into your account again.",
        ),
        Ask(
            'I get the message "email or password is incorrect" on my {computer}.',
            empathy="I'm sorry you can't get into your account on your {computer}, that message is frustrating.",
        ),
        Ask(
            (
                "Good morning, I have been trying to log in with {browser} since eight o'clock, and the page "
                "always tells me that my details are incorrect. What should I do? Yours sincerely, {name}"
            ),
            empathy="I'm sorry you can't get into your account and have been trying since eight o'clock.",
        ),
        Ask(
            (
                "I'm 68 and no expert. The page tells me that my password is incorrect, yet I copied it "
                "letter by letter from my notebook."
            ),
            empathy="I'm sorry you can't get into your account when you copied your password so carefully.",
        ),
        Ask(
            "I forgot my password.",
            empathy="I'm sorry you can't get into your account, a password is easily forgotten.",
        ),
        Ask(
            "lost my password, how do i get a new one",
            empathy="I'm sorry you can't get into your account without your password, let's set a new one.",
        ),
        Ask(
            "I changed my password last week and can't remember the new one, silly me.",
            empathy="I'm sorry you can't get into your account, a new password is easily forgotten.",
        ),
        Ask(
            "havent used northwind for a year, no idea what my password was",
            empathy="I'm sorry you can't get into your account, a year is a long time to remember a password.",
        ),
        Ask(
            "I'm just back from parental leave and my password has slipped my mind completely.",
            empathy="I'm sorry you can't get into your account just when you are back from leave.",
        ),
        Ask(
            "My browser filled in the password for years. Now I have a new {computer} and don't know it.",
            empathy="I'm sorry you can't get into your account on your new {computer}, that is annoying.",
        ),
        Ask(
            "The login page just reloads when I press Sign in.",
            empathy="I'm sorry you can't get into your account, a page that only reloads is frustrating.",
        ),
        Ask(
            "login page keeps looping in {browser}, i type everything in and land on the same page",
            empathy="I'm sorry you can't get into your account and the login page keeps looping in {browser}.",
        ),
        Ask(
            "New phone, and the app won't let me log in.",
            empathy="I'm sorry you can't get into your account on your new phone, that is frustrating.",
            steps=APP,
        ),
        Ask(
            "got my new {device} yesterday, login doesnt work on it",
            empathy="I'm sorry you can't get into your account on your new {device}, that is annoying.",
            steps=APP_AGAIN,
        ),
        Ask(
            "Since the update I can't log in.",
            empathy="I'm sorry you can't get into your account since the update, that is frustrating.",
        ),
        Ask(
            "the app logged me out after updating and my password is refused now",
            empathy="I'm sorry you can't get into your account after the update, that is annoying.",
            steps=APP_AGAIN,
        ),
        Ask(
            "after reinstalling the app i cant get back in",
            empathy="I'm sorry you can't get into your account after reinstalling the app.",
            steps=APP,
        ),
        Ask(
            "I can sign in on the website but not in the app.",
            empathy="I'm sorry you can't get into your account in the app, I know how annoying that is.",
            steps=APP,
        ),
        Ask(
            ("The app works, but your website refuses the same password. I use {browser} on my {computer}."),
            empathy="I'm sorry you can't get into your account on our website, that is frustrating.",
        ),
        Ask(
            "Both my phone and my {computer} refuse my login.",
            empathy="I'm sorry you can't get into your account on your phone or your {computer}.",
        ),
        Ask(
            "I don't remember which email address I used to sign up, so I can't log in.",
            empathy="I'm sorry you can't get into your account, an old email address is easily forgotten.",
            steps=OTHER_EMAIL,
        ),
        Ask(
            "it says no account with this email. maybe i use the wrong one",
            empathy="I'm sorry you can't get into your account, it is annoying when your email is not found.",
            steps=OTHER_EMAIL,
        ),
        Ask(
            "I have a meeting in five minutes and I can't sign in. Please help!",
            empathy="I'm sorry you can't get into your account right before your meeting, that is stressful.",
        ),
        Ask(
            ("My train tickets are saved in my account and it won't let me in. The train leaves in half an hour!"),
            empathy="I'm sorry you can't get into your account just before your train leaves, that is stressful.",
        ),
        Ask(
            "student here, essay due tonight and northwind says password incorrect",
            empathy="I'm sorry you can't get into your account on the night your essay is due.",
        ),
        Ask(
            (
                "Hello, I am a teacher and all my lessons are in Northwind. Since {weekday} my password is "
                "not accepted. Could you please help me? {name}"
            ),
            empathy="I'm sorry you can't get into your account when you need your lessons.",
        ),
        Ask(
            "I run a small bakery and can't log in to see today's orders.",
            empathy="I'm sorry you can't get into your account when you need to see today's orders.",
        ),
        Ask(
            "This is ridiculous!! I pay every month and can't even log in!",
            empathy="I'm sorry you can't get into your account, I understand your anger when you pay for it.",
        ),
        Ask(
            "Can't sign in!!! I need a file from there NOW",
            empathy="I'm sorry you can't get into your account when you need a file so urgently.",
        ),
        Ask(
            "I pressed Sign out by accident and now I can't get in again.",
            empathy="I'm sorry you can't get into your account after signing out by accident.",
        ),
        Ask(
            "{colleague} set up my account at work, and the password on the note does not work.",
            empathy="I'm sorry you can't get into your account with the password {colleague} left you.",
        ),
        Ask(
            "I'm travelling and my login fails on the hotel computer.",
            empathy="I'm sorry you can't get into your account while you are travelling, that is stressful.",
        ),
    ],
    heldout=[],
)

TOPICS = [SIGN_IN]
