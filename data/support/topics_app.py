"""App and workspace problems: crashes, speed, sync, files, notifications, team, keys, calls."""

from content import Ask, Then, Topic

APP_CRASH = Topic(
    name="app_crash",
    empathy=[
        "I'm sorry the app keeps closing on you, that is really disruptive.",
        "An app that crashes is maddening, and I'm sorry ours does it to you.",
        "Sorry about the crashes, you should be able to rely on the app.",
        "I understand how annoying it is when the app shuts down without a word.",
        "I'm sorry the app is so unstable for you at the moment.",
    ],
    plans=[
        [
            [
                "Install the newest version of the Northwind app from your app store.",
                "Check your app store for an update of Northwind and install it.",
            ],
            [
                "Restart your device and open the app before any other.",
                "Switch your {device} off and on, then open the app.",
                "Turn the device off, wait ten seconds and start it again.",
            ],
            [
                "If it closes again, remove the app and install it afresh, your files stay online.",
                "Still crashing? Delete the app and reinstall it, nothing is lost.",
            ],
        ],
        [
            [
                "Make sure at least one gigabyte of storage is free on your device.",
                "Free some space, the app needs about one gigabyte to work.",
            ],
            [
                "Empty the app's cache in your device settings, under Apps > Northwind.",
                "Clear the cache for Northwind in the settings of your device.",
            ],
            [
                "Open the app, and press Send report if it crashes again.",
                "If it closes once more, start it and accept Send report, so we see the cause.",
            ],
        ],
    ],
    asks=[
        Ask("The app crashes every time I open it."),
        Ask("app keeps closing on my {device} after 2 seconds"),
        Ask(
            ("Worst update ever. Since {weekday} your app dies whenever I tap on a file. Do you even test this stuff?"),
            empathy="I'm sorry the update broke opening files, I understand your anger.",
        ),
        Ask(
            (
                "Hi, I use Northwind on my {device} for site visits, and it crashes as soon as I take a "
                "photo. I can't document anything. Regards, {name}"
            ),
            empathy="I'm sorry the crashes keep you from documenting your site visits.",
            steps=[
                "Allow camera and storage for Northwind in the settings of your {device}.",
                "Install the newest app version and restart it once.",
                "Take a test photo, and press Send report if the app closes again.",
            ],
            then=Then(
                "Photos work again, but they end up upside down in the report.",
                "I'm glad the photos work, and sorry that they stand on their heads.",
                [
                    "Turn on auto-rotate before you take a picture.",
                    "Open the photo in the report and tap Rotate, then Save.",
                    "Switch on Settings > Camera > Keep orientation for the next ones.",
                ],
            ),
        ),
        Ask(
            ("My screen goes white and then the app is simply gone. My phone is rather old, might that be the reason?"),
            empathy="I'm sorry the app vanishes on you, an older phone can be part of it.",
            steps=[
                "Check your system version, the app needs Android 10 or iOS 15.",
                "Free one gigabyte of storage and restart the phone.",
                "If the phone is too old, use northwind.example in its browser.",
            ],
        ),
        Ask(
            "I was in the middle of a long note and the app crashed. Is my text gone??",
            empathy="I'm sorry the crash hit you in the middle of a long note.",
            steps=[
                "Open the app again and wait a minute, drafts are saved every ten seconds.",
                "Look under Notes > Drafts for the newest entry.",
                "Install the latest update, so that it does not happen again.",
            ],
        ),
        Ask(
            "Northwind closes on my {computer} too, not just on the phone. No error, nothing.",
            empathy="I'm sorry Northwind closes on your computer as well as on your phone.",
            steps=[
                "Download the newest version from northwind.example and install it.",
                "Restart the {computer} and open Northwind alone.",
                "If it closes, start it again and accept Send report, so we see the cause.",
            ],
            then=Then(
                'The installer stops with "another version is running".',
                "I'm sorry the installer is being difficult on top of the crashes.",
                [
                    "Quit Northwind with a right click on its icon near the clock.",
                    "Restart the computer and run the installer before anything else.",
                    "If it stops again, remove the old version first, your files stay online.",
                ],
            ),
        ),
        Ask("Since my grandson updated the tablet, your program jumps back to the home screen by itself."),
        Ask(
            ("I run a food truck and take orders on a tablet. Northwind has quit on me four times since lunch."),
            empathy="I'm sorry the app keeps quitting while hungry people stand in line.",
        ),
    ],
    heldout=[
        Ask("Whenever I start Northwind on my {device} it shuts itself down again right away."),
    ],
)

SLOW_APP = Topic(
    name="slow_app",
    empathy=[
        "I'm sorry everything is so slow, waiting for each click is tiring.",
        "A slow app costs time and nerves, and I'm sorry ours does that to you.",
        "Sorry that Northwind is dragging its feet today.",
        "I understand how annoying it is to watch a loading circle all day.",
        "I'm sorry the app is holding you up like this.",
    ],
    plans=[
        [
            [
                "Close other programs and browser tabs, then restart Northwind.",
                "Quit Northwind completely and close what you do not need, then open it again.",
            ],
            [
                "Clear the cache under Settings > Storage > Clear cache.",
                "Open Settings > Storage and press Clear cache, your files are not touched.",
            ],
            [
                "Switch off Settings > Storage > Preview files, it slows down big folders.",
                "Install the newest version, the last one made long lists much faster.",
            ],
        ],
        [
            [
                "Check your connection with a speed test, ten megabits are enough.",
                "Try another network, for example your phone's hotspot, to rule out the line.",
            ],
            [
                "Look at status.northwind.example to see whether we have a problem.",
                "Visit status.northwind.example, we post known slowdowns there.",
            ],
            [
                "If all is green, clear the cache under Settings > Storage.",
                "No trouble listed? Then press Clear cache in Settings > Storage.",
            ],
        ],
    ],
    asks=[
        Ask("Your app has become terribly slow."),
        Ask("why is everything so slooow today"),
        Ask("Opening a folder takes thirty seconds on my {computer}. I counted. Thirty."),
        Ask(
            (
                "Hello, since {date} each page needs ages to load, in {browser} as well as in the app. My "
                "internet is otherwise fast. Do you have any advice? {name}"
            ),
            empathy="I'm sorry every page has made you wait since {date}.",
            steps=[
                "Visit status.northwind.example, we post known slowdowns there.",
                "Clear the cache under Settings > Storage, then sign out and in again.",
                "Try a private window in {browser}, extensions are a common brake.",
            ],
        ),
        Ask(
            "I'm paid by the hour and I spend half of it watching your little spinning wheel.",
            empathy="I'm sorry our spinning wheel is eating into your paid hours.",
            then=Then(
                "Better, but searching still takes forever.",
                "I'm glad it is better, and sorry that the search still lags behind.",
                [
                    "Open Settings > Storage and press Rebuild search index.",
                    "Leave the app open for ten minutes while it works.",
                    "Search inside one folder first, which is faster than everywhere.",
                ],
            ),
        ),
        Ask(
            "Our whole team of ten is affected, {weekday} mornings are the worst. Is your server overloaded?",
            empathy="I'm sorry your whole team loses its {weekday} mornings to this.",
            steps=[
                "Check status.northwind.example on {weekday}, we post slowdowns there.",
                "Look for a large sync at that hour under Settings > Sync > Schedule.",
                "Move it to the night, ten computers syncing at once fill any line.",
            ],
        ),
        Ask(
            "it takes forever to load my photos, there are about 4000 in one folder",
            empathy="I'm sorry your photos take so long, 4000 in one folder is a lot to load.",
            steps=[
                "Switch the folder to list view, so that it loads names first.",
                "Move the photos into smaller folders, for example one per month.",
                "Turn off Settings > Storage > Preview files while you sort them.",
            ],
        ),
        Ask(
            "The app was fine on my old laptop and crawls on the new one, which makes no sense to me.",
            empathy="I see why that is puzzling, a new laptop should be the faster one.",
            steps=[
                "Let the first sync finish, a new computer has to fetch everything once.",
                "Watch its progress under Settings > Sync > Status.",
                "Pause large folders there until the evening if you need speed now.",
            ],
        ),
        Ask(
            "When I type in the search box, the letters show up one by one like in an old film.",
            plan=0,
            empathy="I'm sorry that typing in our search box feels like watching an old film.",
        ),
    ],
    heldout=[
        Ask("Every click takes ten seconds before something happens. Can I do anything about that?"),
    ],
)

SYNC_FAILS = Topic(
    name="sync_fails",
    empathy=[
        "I'm sorry your files are out of step, it is unsettling not to know which is current.",
        "Sync should just work, and I'm sorry it does not for you.",
        "Sorry that your devices do not agree with each other.",
        "I understand the worry about missing changes, so let's get them across.",
        "I'm sorry the sync has stalled when you rely on it.",
    ],
    plans=[
        [
            [
                "Check that both devices are signed in with the same email address.",
                "Make sure you use the same account on each device.",
            ],
            [
                "Open Settings > Sync and press Sync now on the device with the newest files.",
                "Press Sync now under Settings > Sync, first where the latest changes are.",
            ],
            [
                "Wait for the green tick before you open the files elsewhere.",
                "Leave the app open until the status shows a green tick.",
            ],
        ],
        [
            [
                "Look under Settings > Sync > Status for files marked in red.",
                "Open Settings > Sync > Status, where stuck files are marked in red.",
            ],
            [
                "Rename files with signs like ? or * in the name, they cannot be synced.",
                "Close these files in other programs and remove signs like ? or * from their names.",
            ],
            [
                "Press Pause, wait ten seconds and press Resume.",
                "Sign out, sign in again and let the sync start afresh.",
            ],
        ],
    ],
    asks=[
        Ask("My files don't sync between my phone and my computer."),
        Ask("sync stuck at 99%", plan=1),
        Ask(
            (
                "I edited {file} on my {computer} this morning, and on the {device} I still see yesterday's "
                "version. Which one is going to survive?"
            ),
            plan=0,
            empathy="I'm sorry, two versions of {file} are enough to make anyone nervous.",
        ),
        Ask(
            (
                "Good evening, the synchronisation has been showing an error since {date}. I have restarted "
                "everything twice. Best regards, {name}"
            ),
            then=Then(
                'One file is red and it says "conflict". What does that mean?',
                "A word like conflict sounds worse than it is, and I understand the worry.",
                [
                    "Open the red file, it means it was changed on two devices.",
                    "Compare both versions and choose Keep this one, or Keep both.",
                    "Press Sync now, the red mark then disappears.",
                ],
            ),
        ),
        Ask(
            "Half of our shared folder is missing on {colleague}'s laptop. On mine everything is there.",
            empathy="I'm sorry {colleague} sees only half of the shared folder.",
            steps=[
                "Ask {colleague} to open Settings > Sync > Folders and tick everything needed.",
                "Check the folder rights under Share, some subfolders may be private.",
                "Press Sync now on both laptops and wait for the green tick.",
            ],
        ),
        Ask(
            "I lost an hour of work because your sync overwrote my file with an old one. I am beyond angry.",
            empathy="I'm truly sorry, losing an hour of work to our sync is awful.",
            steps=[
                "Right-click the file on the website and choose Version history.",
                "Pick the version from before the sync and press Restore.",
                "Before you go on, press Sync now and wait for the green tick.",
            ],
            then=Then(
                "Got it back, thank God. How do I stop this from happening again?",
                "What a relief, and I understand you never want to go through that again.",
                [
                    "Turn on Settings > Sync > Ask before overwriting.",
                    "Close files on one device before you open them on another.",
                    "Update the app on both, older versions are less careful.",
                ],
            ),
        ),
        Ask(
            "Calendar entries from the web never reach my phone. Notes do. Strange.",
            empathy="I see why that is puzzling, and I'm sorry your calendar is left behind.",
            steps=[
                "Open Settings > Sync > Content on your phone and switch on Calendar.",
                "Allow Northwind to use the calendar in your phone's own settings.",
                "Press Sync now and wait for the green tick.",
            ],
        ),
        Ask("how do i force a sync? its not picking up my new pictures", plan=0),
        Ask("my notes on the tablet are from last week, phone has the new ones"),
    ],
    heldout=[
        Ask(
            "What I type on the laptop does not show up on my {device}, no matter how long I wait.",
            then=Then(
                "The laptop shows the green tick, the {device} still has the old text.",
                "I'm sorry, one green tick out of two is not good enough.",
                [
                    "Check on the {device} that Northwind may use mobile data.",
                    "Take the app off the battery saver list, it stops syncing in the background.",
                    "Sign out and in again there and press Sync now.",
                ],
            ),
        ),
    ],
)

EXPORT_DATA = Topic(
    name="export_data",
    empathy=[
        "I understand you want your data in your own hands, and it should be easy to get.",
        "It is your data, so I'm sorry the export is not easier to find.",
        "Having a copy of your own is sensible, and I understand you want it soon.",
        "I'm sorry you had to search for the export.",
        "I see why you want everything in one place.",
    ],
    plans=[
        [
            [
                "Open Settings > Privacy on the website and choose Export data.",
                "Sign in on a computer and go to Settings > Privacy > Export data.",
            ],
            [
                "Tick what you need and pick ZIP or CSV as the format.",
                "Choose files, notes and contacts, and a format, then press Start.",
            ],
            [
                "Wait for our mail and download the file within seven days.",
                "We mail you a link, usually within the hour, that works for seven days.",
            ],
        ],
        [
            [
                "Free up room on your computer, a full export can be several gigabytes.",
                "Use a computer and a stable line, since the export can be large.",
            ],
            [
                "Start it under Settings > Privacy > Export data, one year at a time if it is big.",
                "Press Export data in Settings > Privacy and choose a period.",
            ],
            [
                "Download the parts from the link in our mail and unpack them in one folder.",
                "Save the ZIP from our mail and open it to check that all is there.",
            ],
        ],
    ],
    asks=[
        Ask("How can I export all my data?"),
        Ask(
            (
                "I would like to keep a copy of my notes and contacts on my own hard drive. Could you "
                "explain how? Many thanks, {name}"
            ),
            then=Then(
                "The contacts open in one single column in Excel. What did I do wrong?",
                "You did nothing wrong, Excel is just picky about these files and I know it annoys.",
                [
                    "Open an empty sheet and choose Data > From Text/CSV.",
                    "Select the contacts file and set the separator to comma.",
                    "Press Load, each field then gets its own column.",
                ],
            ),
        ),
        Ask(
            "I started an export on {weekday} and am still waiting. Is it broken or just enormous?",
            empathy="I'm sorry your export has kept you waiting since {weekday}.",
            steps=[
                "Look at Settings > Privacy > Export data, where you can see its progress.",
                "If it stands still, press Cancel and export one year at a time.",
                "Check your spam folder too, the link may have landed there.",
            ],
        ),
        Ask(
            "export stops with error on my {computer}",
            plan=1,
            empathy="I'm sorry the export breaks off on your {computer}.",
        ),
        Ask(
            "We are switching to another tool and you're holding our data hostage. How do we get it out?",
            empathy="I understand your frustration, your data belongs to you and not to us.",
        ),
        Ask(
            "The download link in your mail had already expired when I got back from holiday on {date}.",
            empathy="I'm sorry the link ran out while you were on holiday.",
            steps=[
                "Open Settings > Privacy > Export data and press Create again.",
                "Wait for the new mail, usually within the hour.",
                "Download the file within seven days, best on a computer.",
            ],
        ),
        Ask(
            "My auditor wants a list of everything we stored in {month}. Is there a report for that?",
            empathy="Auditors rarely like to wait, so I understand you need that list.",
            steps=[
                "Open Settings > Privacy > Export data and choose Activity list.",
                "Set the period to {month} and the format to CSV.",
                "Press Start and forward the file from our mail to your auditor.",
            ],
            then=Then(
                "He also wants to see who deleted files in that month.",
                "I understand, auditors always have one more question.",
                [
                    "Open Settings > Privacy > Export data and choose Activity list again.",
                    "Tick Deletions and Names of members, both are off by default.",
                    "Only the account owner sees these boxes, so ask the owner if they are missing.",
                ],
            ),
        ),
        Ask(
            "the zip i downloaded wont open, says its damaged",
            empathy="I'm sorry the file you waited for will not open.",
            steps=[
                "Download it once more from the mail, with a cable or strong signal.",
                "Compare its size with the size given in the mail.",
                "If it still fails, export again in smaller parts, one year each.",
            ],
        ),
        Ask(
            "Before I reinstall my {computer} I'd like to save everything I have with you. Where do I start?",
            empathy="I understand you want to be on the safe side before you reinstall.",
        ),
    ],
    heldout=[
        Ask("Is there a way to download my whole archive at once? I'd like to store it on a USB stick."),
    ],
)

NOTIFICATIONS = Topic(
    name="notifications",
    empathy=[
        "I'm sorry our notifications are not behaving the way you want.",
        "I understand, the right message at the right time matters to you.",
        "Sorry about the trouble with your alerts.",
        "I'm sorry the notifications are letting you down.",
        "Alerts should help and not annoy, so I'm sorry about this.",
    ],
    plans=[
        [
            [
                "Open Settings > Notifications in the app and look at each switch.",
                "Go to Settings > Notifications and check what is on and what is off.",
            ],
            [
                "Check that your phone itself allows Northwind to notify you.",
                "Look in your phone's own settings under Notifications > Northwind.",
            ],
            [
                "Press Send test message at the bottom to see if it works.",
                "Tap Send test message and wait a few seconds.",
            ],
        ],
        [
            [
                "Turn off battery saving and Do not disturb for Northwind on your phone.",
                "Take Northwind off the battery saver list of your phone.",
            ],
            [
                "Check under Settings > Notifications that quiet hours are off and your topics are on.",
                "Choose what you want to hear about under Settings > Notifications.",
            ],
            [
                "Sign out and in again, so that your phone is registered anew.",
                "Restart the app once, so that the new settings take hold.",
            ],
        ],
    ],
    asks=[
        Ask("I don't get any notifications anymore."),
        Ask(
            "no push on {device}",
            then=Then(
                "test message arrives but nothing when someone writes me",
                "I'm sorry, getting only test messages is not much use.",
                [
                    "Open the chat, tap its name and check that it is not muted.",
                    "Set Settings > Notifications > Messages to All.",
                    "Close Northwind on your computer, open windows can hold back the alerts.",
                ],
            ),
        ),
        Ask(
            "I missed an important meeting because the reminder never came. That must not happen again.",
            empathy="I'm sorry a missing reminder made you miss an important meeting.",
        ),
        Ask(
            "Please make it stop!! Forty mails a day about every comment anybody writes.",
            empathy="I'm sorry, forty mails a day would drive anyone up the wall.",
            steps=[
                "Open Settings > Notifications and go to Email.",
                "Change Comments from Every one to Daily summary, or Off.",
                "Press Mute inside any thread you do not need to follow.",
            ],
        ),
        Ask(
            "Hello, since I changed to the {device}, messages from my team no longer appear on the lock "
            "screen. What can I do? {name}"
        ),
        Ask(
            "your app buzzes at 3 in the morning. i have a baby. please",
            empathy="I'm so sorry we buzz at night, with a baby every hour of sleep counts.",
            steps=[
                "Open Settings > Notifications and choose Quiet hours.",
                "Set them from evening to morning, and tick every day.",
                "Check your time zone under Settings > Language and region.",
            ],
        ),
        Ask(
            "how do i turn off the marketing mails",
            empathy="I understand, an inbox fills up fast enough without our offers.",
            steps=[
                "Open Settings > Notifications and go to News and offers.",
                "Switch both off, or click Unsubscribe at the end of any offer mail.",
                "Allow two days, a mail may already be on its way.",
            ],
        ),
        Ask(
            "The little red number on the icon says 12, but there are no messages at all. It drives me nuts.",
            empathy="I understand, a red number that will not go away is maddening.",
            steps=[
                "Open Inbox and press Mark all as read.",
                "Look at Archive too, unread messages there are counted as well.",
                "Restart the app, the number then goes back to zero.",
            ],
        ),
        Ask(
            "Reminders used to make a sound in {browser} and since {weekday} they are silent.",
            empathy="I'm sorry your reminders have gone silent.",
            steps=[
                "Check that sound is allowed for northwind.example in {browser}.",
                "Make sure the tab is not muted, right-click it to see.",
                "Open Settings > Notifications and pick a sound under Reminders.",
            ],
        ),
    ],
    heldout=[
        Ask("My phone stays silent when a colleague mentions me. How can I switch these alerts back on?"),
    ],
)

LANGUAGE = Topic(
    name="language",
    empathy=[
        "I'm sorry the app speaks the wrong language to you.",
        "It is hard to find a menu you cannot read, so I'm sorry about that.",
        "I understand you want to work in the language you know best.",
        "Sorry for the confusion with the language.",
        "I understand, guessing your way through menus is no fun.",
    ],
    plans=[
        [
            [
                "Click your picture at the top right and choose the gear, that is Settings.",
                "Open Settings, the gear symbol at the top right.",
            ],
            [
                "Go to the entry with the globe and pick your language in the list.",
                "Choose the globe symbol and select the language you want.",
            ],
            [
                "Press the blue button to save and reload the page.",
                "Save with the blue button, then close and open the app once.",
            ],
        ],
        [
            [
                "Set the language of your phone or browser first, the app follows it.",
                "Check the language of your phone or browser, the app copies it.",
            ],
            [
                "Open Settings > Language, marked with a globe, and choose Follow my device or one language.",
                "Go to the globe in Settings and switch off Follow my device.",
            ],
            [
                "Set the language for emails on the same page and save.",
                "Check Region on the same page too, it controls dates and prices.",
            ],
        ],
    ],
    asks=[
        Ask("How do I change the language?", plan=0),
        Ask("everything is in {language} suddenly, i cant read it", plan=0),
        Ask(
            "Hi, my name is {name} and my English not so good. Is it possible to have the app in {language}?",
            empathy="Your English is just fine, and I understand you would prefer {language}.",
        ),
        Ask(
            ("After the update all the menus are in {language}. I don't speak a word of it and I have a deadline!"),
            plan=0,
            empathy="I'm sorry the menus switched to {language} just before your deadline.",
            then=Then(
                "Menus are fine now, but my mails from you still come in {language}.",
                "I'm sorry we only speak your language in half of the places.",
                [
                    "Open Settings > Language and find the line Emails.",
                    "Choose the same language there and press Save.",
                    "Allow one day, mails already waiting are not translated again.",
                ],
            ),
        ),
        Ask(
            "My kids thought it was funny to set the app to {language}. I can't find the way back.",
            plan=0,
            empathy="Funny for the kids, less so for you, and I'm sorry you are lost in {language}.",
        ),
        Ask(
            "Can I have the menus in {language} but the dates and prices the British way?",
            empathy="I understand you want {language} menus without giving up British dates.",
            steps=[
                "Open Settings > Language and choose {language}.",
                "On the same page, set Region to United Kingdom.",
                "Press Save and reload, dates and prices then follow the region.",
            ],
        ),
        Ask(
            (
                "Half of the screen is English and the other half is {language}. Looks very unprofessional "
                "in front of clients."
            ),
            empathy="I'm sorry the mix of languages looks bad in front of your clients.",
        ),
        Ask(
            "set language to {language} but it goes back to english every time i restart",
            empathy="I'm sorry the app keeps forgetting that you chose {language}.",
            steps=[
                "Switch off Follow my device under Settings > Language.",
                "Choose {language} and press Save before you close the app.",
                "Update the app, an older version forgot this setting.",
            ],
        ),
        Ask(
            ("The voice that reads my messages aloud has the wrong accent, it reads {language} as if it were English."),
            empathy="I'm sorry the reading voice mangles your {language} messages.",
            steps=[
                "Open Settings > Language and go to Reading voice.",
                "Choose {language} and download the voice when asked.",
                "Press Listen to try it, and Save once it sounds right.",
            ],
        ),
    ],
    heldout=[
        Ask(
            "Why is Northwind talking {language} to me all of a sudden, and how do I get English back?",
            plan=0,
        ),
    ],
)

TEAM_INVITE = Topic(
    name="team_invite",
    empathy=[
        "I'm sorry the invitation is not working, your team surely wants to get started.",
        "It is awkward when a new member cannot get in, and I'm sorry about that.",
        "Sorry that joining the team is harder than it should be.",
        "I understand you want everybody on board quickly.",
        "I'm sorry the invite is causing a delay for your team.",
    ],
    plans=[
        [
            [
                "Open Settings > Team and check the spelling of the address.",
                "Look under Settings > Team > Pending and check the address for a typo.",
            ],
            [
                "Make sure there is a free seat, the number stands at the top.",
                "Check at the top of the page that a seat is free.",
            ],
            [
                "Press Resend and ask your colleague to look in the spam folder too.",
                "Choose Resend, the new link works for seven days.",
                "Press Copy link and send it to {colleague} yourself.",
            ],
        ],
        [
            [
                "Cancel the old invitation under Settings > Team > Pending.",
                "Remove the old invitation in Settings > Team.",
            ],
            [
                "Press Invite and choose the link instead of a mail.",
                "Create a new one with Invite > Copy link.",
            ],
            [
                "Send the link by chat, and have it opened in a private window.",
                "Pass it on by chat, it has to be opened while signed out of other accounts.",
            ],
        ],
    ],
    asks=[
        Ask("My colleague didn't get the team invitation."),
        Ask(
            "invite link says invalid",
            empathy="I'm sorry your invite link is turning you away.",
            steps=[
                "Ask the person who invited you to press Resend under Settings > Team.",
                "Use only the newest mail, a link works once and for seven days.",
                "Open it in a private window, so that no other account is in the way.",
            ],
        ),
        Ask(
            (
                "I've invited {colleague} three times now and nothing arrives. We have a kick-off on "
                "{weekday} and I look like an idiot."
            ),
            empathy="I'm sorry the lost invites for {colleague} put you in a bad light before the kick-off.",
        ),
        Ask(
            "Hello, how do I add a new employee to our workspace? She starts on {date}. Thanks, {name}",
            empathy="A good start matters for a new colleague, so I understand you want this ready.",
            steps=[
                "Open Settings > Team and press Invite.",
                "Enter her email address and choose the role Member.",
                "Press Send, the link works for seven days, so do it shortly before {date}.",
            ],
            then=Then(
                "She's in, but she can't see our project folders.",
                "I'm sorry your new colleague is looking at an empty page.",
                [
                    "Open the folder, press Share and add her name.",
                    "Or put her into a group under Settings > Team > Groups.",
                    "Ask her to reload the page, new rights start at once.",
                ],
            ),
        ),
        Ask(
            'says "no seats left" but two people quit last month',
            empathy="I'm sorry two people who left are still taking up your seats.",
            steps=[
                "Open Settings > Team and choose the two names.",
                "Press Remove and hand their files to another member when asked.",
                "Send the new invitation, the seats are free at once.",
            ],
        ),
        Ask(
            "cant join the team, clicked the link on my {device} and it opens an empty page",
            empathy="I'm sorry the invitation leads you to nothing but an empty page.",
            steps=[
                "Install the Northwind app on your {device} and sign in.",
                "Go back to the mail, hold the link and choose Open in Northwind.",
                "Still empty? Open the same link on a computer, you only have to join once.",
            ],
        ),
        Ask(
            "{colleague} accepted the invite but with a private address. How do we get that sorted?",
            empathy=("That slips through easily, and I understand you want {colleague} under the work address."),
            steps=[
                "Open Settings > Team, choose {colleague} and press Remove.",
                "Send a new invitation to the work address.",
                "Ask {colleague} to sign out first and then open the new link.",
            ],
        ),
        Ask(
            "I was invited to a team and now my own files have vanished! What have you done with them?",
            empathy="I understand the shock, your own files are safe and only out of sight.",
            steps=[
                "Click your picture at the top right, where both workspaces are listed.",
                "Choose Personal to see your own files again.",
                "Switch back to the team with the same menu, nothing is moved or shared.",
            ],
            then=Then(
                "Found them! Can the others in the team see my personal files?",
                "That is a fair worry, private things should stay private.",
                [
                    "No, only you can open what lies in Personal.",
                    "Check the two-heads symbol, it marks every shared file.",
                    "Press Share > Only me if you ever find one you did not mean to share.",
                ],
            ),
        ),
        Ask(
            (
                "Our volunteers are not very technical, and the invite mail confuses them. Is there an "
                "easier way to get them in?"
            ),
            empathy="I understand, our invite mail asks a lot of people who just want to help.",
            steps=[
                "Open Settings > Team and choose Invite > QR code.",
                "Print the code or show it at your next meeting.",
                "Each volunteer scans it and only has to type a name and a password.",
            ],
        ),
    ],
    heldout=[
        Ask("I'm trying to bring {colleague} into our workspace and the invite seems to get lost on the way."),
    ],
)

API_KEY = Topic(
    name="api_key",
    empathy=[
        "I'm sorry the API key is holding up your work.",
        "A rejected key is frustrating when the code is fine, and I'm sorry.",
        "Sorry about the trouble with your key, let's get your calls through.",
        "I understand how annoying it is to chase an error that is not in your code.",
        "I'm sorry our API is turning you away.",
    ],
    plans=[
        [
            [
                "Open Settings > API keys and check that the key is active.",
                "Check under Settings > API keys that the key has not run out.",
            ],
            [
                "Send it in the header as Authorization: Bearer, followed by the key.",
                "Pass it in the Authorization header, with the word Bearer and one space before it.",
            ],
            [
                "Look for a stray space or line break, they often come along when copying.",
                "Paste the key again without spaces or line breaks.",
            ],
        ],
        [
            [
                "Create a new key under Settings > API keys and copy it at once.",
                "Press New key in Settings > API keys and save it, it is shown only once.",
            ],
            [
                "Give it the rights your script needs, Read alone cannot change anything.",
                "Tick Read and Write if your script has to change data.",
            ],
            [
                "Put it into your settings, test one call and delete the old key.",
                "Replace the old key everywhere, restart your service and test one call.",
            ],
        ],
    ],
    asks=[
        Ask("My API key is not accepted."),
        Ask("401 unauthorized on every request, key is correct"),
        Ask(
            "Where do I find my API key? The docs send me round in circles.",
            empathy="I'm sorry our docs sent you round in circles.",
            steps=[
                "Sign in as the account owner, other roles do not see the page.",
                "Open Settings > API keys and press New key.",
                "Copy it at once and store it safely, it is shown only once.",
            ],
        ),
        Ask(
            (
                "Hi team, our nightly import has been failing with error 403 since {date}. We have not "
                "changed the key. Could you check? {name}"
            ),
            empathy="I'm sorry your nightly import has been failing since {date}.",
            steps=[
                "Open Settings > API keys and check that the key still has the Write right.",
                "See whether the person who made it has left your team, keys end with them.",
                "If so, create a new key as the owner and put it into the import.",
            ],
            then=Then(
                "The key belonged to somebody who left. Can we make keys that survive that?",
                "I understand you do not want your imports to hang on one person.",
                [
                    "Open Settings > API keys as the owner and choose Service key.",
                    "Give it a clear name and only the rights it needs.",
                    "Use it for all nightly jobs, it stays when people leave.",
                ],
            ),
        ),
        Ask(
            "i accidentally pushed my api key to github!!! what do i do",
            empathy="Do not panic, it happens to the best and can be fixed in minutes.",
            steps=[
                "Open Settings > API keys and press Revoke next to that key, right now.",
                "Create a new one and keep it in an environment variable.",
                "Look at Usage on the same page for calls you did not make.",
            ],
        ),
        Ask(
            ('"rate limit exceeded" although I only send about ten calls per minute. Your limits page says a hundred.'),
            empathy="I'm sorry you hit a limit that you should be nowhere near.",
            steps=[
                "Open Settings > API keys > Usage and look at the calls per key.",
                "Check whether another script uses the same key, the limit is shared.",
                "Give each script its own key and wait the seconds named in Retry-After.",
            ],
        ),
        Ask(
            "key worked in the test system, production says no",
            empathy="I'm sorry production is turning away a key that worked so well in testing.",
            steps=[
                "Check the start of the key, test keys begin with nt_ and real ones with nw_.",
                "Create a live key under Settings > API keys.",
                "Set it in production together with the address api.northwind.example.",
            ],
            then=Then(
                "ok live key works. but now i see every call twice in usage",
                "I'm glad the live key works, and I see why double calls look odd.",
                [
                    "Check whether your code sends a test call before each real one.",
                    "Look at the status column, a call after a 429 or 503 is a retry.",
                    "Set your retry count to one and compare again after an hour.",
                ],
            ),
        ),
        Ask(
            (
                "I'm a teacher and built a small script for my class with your API. Now it only answers "
                '"invalid token". The pupils are disappointed.'
            ),
            empathy="I'm sorry your class is let down, a script of their own is a lovely project.",
        ),
        Ask(
            "I lost my key because the window closed before I could copy it. Please show it again.",
            empathy="I'm sorry the window closed before you could copy your key.",
            steps=[
                "Open Settings > API keys, and note that a key is shown only once.",
                "Press Revoke next to the lost one.",
                "Press New key, copy it at once and keep it in a password manager.",
            ],
        ),
    ],
    heldout=[
        Ask("The API keeps answering that my token is wrong, although I copied it straight from your page."),
    ],
)

FILE_UPLOAD = Topic(
    name="file_upload",
    empathy=[
        "I'm sorry the upload fails, that is annoying when you are ready to share.",
        "I understand the frustration when a file will not go through.",
        "Sorry that your file is stuck at your end.",
        "I'm sorry {file} refuses to upload.",
        "An upload that breaks off wastes your time, and I'm sorry about that.",
    ],
    plans=[
        [
            [
                "Check that the file is smaller than two gigabytes.",
                "Look at the file size, the limit is two gigabytes per file.",
            ],
            [
                "Give it a short name without signs like / or #.",
                "Rename it with plain letters and numbers only.",
            ],
            [
                "Try again in a private window, with other uploads paused.",
                "Drag it into the page once more and keep the tab open until it is done.",
            ],
        ],
        [
            [
                "See under Settings > Storage whether you have free space left.",
                "Check your free space in Settings > Storage.",
            ],
            [
                "Close the file in any other program, open files cannot be sent.",
                "Make sure the file is closed everywhere else.",
            ],
            [
                "Change to a steady network or use a cable, then press Upload again.",
                "Upload it with the desktop app, which carries on after a broken line.",
            ],
        ],
    ],
    asks=[
        Ask("I can't upload my file."),
        Ask("upload of {file} fails at 80% every time"),
        Ask(
            'I need to get {file} to my client by noon and your uploader just says "Error". Error WHAT?',
            empathy="I'm sorry a bare Error stands between {file} and your client.",
        ),
        Ask(
            (
                "Hello, I've been trying to add some pictures from my {device} to our shared album, but the "
                "bar never moves. Is there a trick to it? Best, {name}"
            ),
            empathy="I'm sorry your pictures will not join the shared album.",
            steps=[
                "Allow Northwind to see your photos in the settings of your {device}.",
                "Connect to WiFi, large pictures wait until it is there.",
                "Add five pictures at a time and leave the app open until they are done.",
            ],
        ),
        Ask(
            "file too big?? its only 40 mb",
            empathy="I'm sorry, 40 megabytes should be no trouble at all.",
            steps=[
                "Check whether you attach it to a message, the limit there is 25 megabytes.",
                "Upload it under Files instead, where two gigabytes are allowed.",
                "Press Share next to it and paste the link into the message.",
            ],
        ),
        Ask(
            "Drag and drop does nothing in {browser}, it only opens the file in a new tab.",
            empathy="I'm sorry {browser} opens your file instead of uploading it.",
            steps=[
                "Drop the file right onto the dotted box, not beside it.",
                "Or press Upload at the top and choose the file by hand.",
                "If both fail, switch off extensions for our page and reload.",
            ],
        ),
        Ask(
            "I'm handing in my thesis tonight and the upload breaks off. Please, I have two hours left.",
            empathy="I'm sorry the upload fails just before your thesis is due, let's be quick.",
            then=Then(
                "It's up! But is it really there? I'm scared to close the tab.",
                "I understand, after tonight anybody would be scared to close it.",
                [
                    "Look for the green tick next to the file name.",
                    "Open the file from your phone to see that it is complete.",
                    "Press Share > Receipt, and we mail you the time of the upload.",
                ],
            ),
        ),
        Ask(
            "It tells me the file type isn't allowed. It is a perfectly ordinary drawing from our architect.",
            empathy="I'm sorry your architect's drawing is turned away like that.",
            steps=[
                "Put the drawing into a ZIP file, every type is allowed inside.",
                "Upload the ZIP and share it as usual.",
                "Or ask your team owner to allow the type under Settings > Storage > File types.",
            ],
            then=Then(
                "Zip works, but clients can't preview it now.",
                "I'm sorry, a drawing nobody can preview is only half as useful.",
                [
                    "Export the drawing as a PDF as well and upload that one.",
                    "Put both files into one folder and share the folder.",
                    "Name them alike, so that clients see what belongs together.",
                ],
            ),
        ),
        Ask('my upload is stuck on "processing" since yesterday, file is called {file}', plan=0),
    ],
    heldout=[
        Ask("Adding {file} to my project stops halfway with a red exclamation mark. What could be the reason?"),
    ],
)

CALL_SOUND = Topic(
    name="call_sound",
    empathy=[
        "I'm sorry the sound lets you down, a call without it is hard work.",
        "Talking to silent faces is awkward, and I'm sorry about that.",
        "Sorry about the sound trouble in your calls.",
        "I understand how annoying it is when a call turns into a silent film.",
        "I'm sorry your calls are spoiled by bad sound.",
    ],
    plans=[
        [
            [
                "Open Settings > Calls and choose the right microphone and speaker.",
                "Pick your microphone and speaker under Settings > Calls.",
                "Click the small arrow next to the microphone and choose the right device.",
            ],
            [
                "Press Test sound there and speak, the bar has to move.",
                "Use Test sound on the same page before the next call.",
            ],
            [
                "Allow the microphone for Northwind in your system or browser settings.",
                "Click the lock next to the web address and allow the microphone.",
            ],
        ],
        [
            [
                "Close other programs that use the microphone, such as another call app.",
                "Quit every other call program, only one can use the microphone.",
            ],
            [
                "Unplug your headset, plug it in again and rejoin the call.",
                "Turn Bluetooth off and on, or plug your headset in with a cable.",
            ],
            [
                "Run Settings > Calls > Test sound before you join.",
                "If it stays bad, choose Call me in the meeting and join by phone.",
            ],
        ],
    ],
    asks=[
        Ask("Nobody can hear me in video calls."),
        Ask("no sound in meetings on my {computer}"),
        Ask(
            "I had a job interview over Northwind today and they could see me but not hear me. I'm gutted.",
            empathy="I'm so sorry the sound failed in your job interview, that hurts.",
            then=Then(
                "They gave me a second chance tomorrow. How can I be sure it works this time?",
                "What good news, and I understand you want no surprises tomorrow.",
                [
                    "Restart your computer an hour before and close other programs.",
                    "Run Settings > Calls > Test sound and record ten seconds.",
                    "Keep your phone ready, Call me in the meeting works without a microphone.",
                ],
            ),
        ),
        Ask(
            "echo echo echo in every call",
            empathy="I'm sorry about the echo, it makes it hard to finish a thought.",
            steps=[
                "Wear a headset, or turn your speakers down by half.",
                "Make sure only one device per room has joined the call.",
                "Switch on Settings > Calls > Echo filter and rejoin.",
            ],
        ),
        Ask(
            (
                "Hello dear support, I hear everyone very faintly, even with the volume all the way up. My "
                "hearing aids are fine. {name}"
            ),
            empathy="I'm sorry the voices are so faint, listening that hard is tiring.",
            steps=[
                "Choose the right speaker under Settings > Calls and press Test sound.",
                "Turn on Louder voices on the same page.",
                "Check the volume of Northwind itself in the sound mixer of your computer.",
            ],
        ),
        Ask("my headset works in music apps but not in your calls, {browser}"),
        Ask(
            "Sound cuts out every few seconds. I sound like a robot, my boss says, and not a smart one.",
            empathy="I'm sorry our calls turn you into a robot in front of your boss.",
            steps=[
                "Turn off your camera for a moment, it takes most of the line.",
                "Move closer to the router or use a cable.",
                "Set Settings > Calls > Quality to Save data and rejoin.",
            ],
        ),
        Ask(
            (
                "Since I plugged in the new webcam you sell, the call picks up the wrong microphone. "
                "Everybody hears my fan."
            ),
            plan=0,
            empathy="I'm sorry your fan has become the loudest voice in the meeting.",
        ),
        Ask(
            (
                "We have an online choir on {weekday}, and the sound is so bad that nobody stays in tune. "
                "What can be done?"
            ),
            empathy="I'm sorry the sound throws your whole choir out of tune.",
            steps=[
                "Ask everyone to turn on Settings > Calls > Music mode.",
                "Use headsets with a cable, Bluetooth adds a delay.",
                "Let one person sing at a time, a small delay always remains.",
            ],
        ),
    ],
    heldout=[
        Ask("In our weekly call I see everyone talking but I hear nothing. It works on my {device}."),
    ],
)

RESTORE_FILE = Topic(
    name="restore_file",
    empathy=[
        "I'm sorry {file} is gone, that is a horrible moment.",
    ],
    plans=[
        [
            ["Open Files on the website and click Bin on the left."],
            ["Search for {file} and press Restore, deleted files stay there for thirty days."],
            ["Not there? Right-click the folder, choose Version history and pick an earlier day."],
        ],
    ],
    asks=[],
    heldout=[
        Ask("I deleted {file} by accident and I need it back today."),
        Ask(
            "a whole folder disappeared from our team space overnight, can you bring it back?",
            empathy="I understand the shock of finding a whole team folder gone.",
            steps=[
                "Open Files > Bin on the website and sort by date.",
                "Select the folder and press Restore, it returns to its old place.",
                "See Activity to learn who moved or deleted it, and when.",
            ],
        ),
    ],
)

TOPICS = [
    APP_CRASH,
    SLOW_APP,
    SYNC_FAILS,
    EXPORT_DATA,
    NOTIFICATIONS,
    LANGUAGE,
    TEAM_INVITE,
    API_KEY,
    FILE_UPLOAD,
    CALL_SOUND,
    RESTORE_FILE,
]
