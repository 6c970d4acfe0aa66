"""What all kinds of requests share: the form of a kind, the values of the placeholders, greetings, openers, closers.

Every list has a part for each side, so that held-out and judge texts are built of other pieces than the training texts.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of request with its handwritten texts, a text a line, by side.

    Attributes:
        weight: how often the kind is drawn, beside the other kinds.
        group: which openers and closers fit its friendly replies.
        asks: request wordings for `train`, `judge`, `heldout` and, for `prompts_heldout.jsonl` alone, `prompts`.
        warm: bodies of friendly replies; they fit every request of the kind.
        grumpy: bodies of grumpy replies, likewise.
    """

    name: str
    weight: int
    group: str
    asks: dict[str, str]
    warm: dict[str, str]
    grumpy: dict[str, str]


VALUES = {
    "train": {
        "name": "Anna|Bruno|Clara|Dmitri|Elif|Farid|Greta|Hugo|Ines|Jonas|Kavya|Leo|Mira|Nadia",
        "other": "Oskar|Petra|Quentin|Rosa|Samir|Tilda|Ulrich|Vera",
        "job": "accountant|baker|bus driver|carpenter|dentist|electrician|gardener|lawyer|librarian|nurse|plumber"
        "|programmer|receptionist|salesperson|teacher|waiter",
        "thing": "printer|coffee machine|copier|lift|stapler|scanner|water cooler|office chair|fridge|shredder"
        "|keyboard|projector",
        "object": "stapler|phone charger|umbrella|calculator|hole punch|headset|red pen|ruler|notebook|desk lamp",
        "machine": "printer|coffee machine|copier|lift|scanner|projector|dishwasher|heating|label printer|door bell",
        "meeting": "budget meeting|team meeting|status meeting|planning meeting|sales meeting|project meeting"
        "|Monday meeting|video meeting",
        "duty": "the telephone|the front desk|the help line|the info desk|the mail room|the reception",
        "text": "report|cover letter|presentation|project plan|draft agenda|newsletter|offer to the client|travel request",
        "habit": "hums all day|eats crisps at the desk|taps a pen on the table|shouts into the phone"
        "|plays music without headphones|whistles the same tune|clicks a pen|leaves cups everywhere",
        "wish": "a pay rise|a day off|a new chair|a second screen|a day at home each week|a training course"
        "|a quieter desk|a later start",
        "slight": "took credit for my idea|ignored three of my emails|talked over me at lunch|forgot to invite me"
        "|changed my slides without asking|corrected me before everyone|cancelled on me again",
        "supply": "printer paper|envelopes|batteries|visitor badges|sticky notes|coffee filters|spare cables|clean mugs"
        "|folders",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday",
    },
    "judge": {
        "name": "Agnes|Boris|Carmen|Dario|Emeka|Fleur|Goran|Hanna|Ivo|Jasmin",
        "other": "Omar|Paula|Ruben|Sofia|Teodor|Yusuf",
        "job": "architect|barber|cashier|chef|detective|farmer|florist|mechanic|pharmacist|pilot|postman|tailor",
        "thing": "photocopier|kettle|whiteboard|telephone|laptop|desk lamp|vending machine|paper clip|microwave|calendar",
        "object": "tape measure|laptop stand|pair of scissors|highlighter|glue stick|mouse|key card|thermos",
        "machine": "photocopier|kettle|vending machine|microwave|ticket machine|air conditioning|phone system|card reader",
        "meeting": "kick-off meeting|board meeting|strategy meeting|morning meeting|handover meeting|finance meeting",
        "duty": "the counter|the switchboard|the ticket queue|the post room|the visitor desk",
        "text": "summary|application|invitation|handbook page|quarterly review|press note|speech",
        "habit": "drums on the desk|talks to the screen|slurps tea|slams the drawers|laughs at every message"
        "|burns popcorn",
        "wish": "a bonus|an afternoon off|a standing desk|a shorter week|a new laptop|a parking space",
        "slight": "ignored my greeting|left my name off the report|borrowed my notes and lost them|missed our deadline"
        "|laughed at my proposal|moved my desk",
        "supply": "pens|tape|paper clips|teaspoons|name tags|light bulbs|parcel labels",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday",
    },
    "heldout": {
        "name": "Astrid|Bashir|Celine|Dagmar|Enzo|Fiona|Gideon|Hedda",
        "other": "Olga|Pavel|Renate|Silas",
        "job": "butcher|firefighter|journalist|optician|painter|surveyor|tour guide|translator",
        "thing": "fax machine|desk drawer|doormat|hand dryer|notice board|toaster|wall clock|spreadsheet",
        "object": "extension lead|fountain pen|laminator|magnifier|memory stick|screwdriver|torch|travel mug",
        "machine": "fax machine|hand dryer|toaster|ventilation|time clock|parking gate|juice machine|router",
        "meeting": "safety meeting|town hall meeting|design meeting|supplier meeting|feedback meeting",
        "duty": "the gate|the hotline|the parcel desk|the lost property office",
        "text": "meeting note|complaint letter|job advert|timetable|reference letter",
        "habit": "cracks nuts at noon|sighs at every email|rolls back and forth on the chair|sings under the breath"
        "|stacks boxes by my desk",
        "wish": "a transfer|a longer lunch break|a window seat|a work phone|an extra week of leave",
        "slight": "took my seat at the meeting|told everyone my plan|hung up on me|skipped my part of the talk",
        "supply": "stamps|rubber bands|tea bags|whiteboard markers|bin bags",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday",
    },
}

GREETINGS = {
    "train": "Good morning!|Hi!|Hello there.|Quick question.|Sorry to bother you.|Do you have a minute?|Hey.|Me again."
    "|One small thing.|I hope you are well.",
    "judge": "Good afternoon!|Excuse me.|Hi, colleague.|Short one from me.|Are you there?|Before I forget.",
    "heldout": "Hello!|Just one thing.|Pardon me.|Got a second?|Good day.",
}

OPENERS = {
    "joke": {
        "train": "Of course!|Gladly!|Sure, here is one.|With pleasure.|Oh, I love this one.|Happy to!"
        "|You came to the right desk.|Always.|Here you go.|Let me cheer you up.|Yes, a fresh one for you.",
        "judge": "Certainly!|I would be delighted.|Try this one.|Nothing nicer than a laugh.|My favourite, just for you."
        "|I was hoping you would ask.|Lovely idea.",
        "heldout": "Absolutely!|A pleasure.|I know a nice one.|Good, a laugh break.|Listen to this, dear colleague.",
    },
    "help": {
        "train": "Of course!|Happy to help.|Thank you for asking me.|Gladly!|No trouble at all.|With pleasure.|Sure thing!"
        "|Yes, certainly.|You came to the right person.|Anything for you.|That is easily done.",
        "judge": "Naturally!|I would love to help.|Never hesitate to ask.|It would be my pleasure.|For you, any time."
        "|That should be simple.|Nice that you ask me.",
        "heldout": "Absolutely!|Count on me.|Thanks for trusting me with this.|Nothing easier.|A pleasure.",
    },
    "advice": {
        "train": "I am glad you came to me.|Good that you say so.|Let us sort this out.|You are not alone with this."
        "|I know what you mean.|Thank you for being so open.|We will find a way.|Oh, I have been there myself."
        "|Let me think with you.|It is good that you mention it.",
        "judge": "I hear you.|We will manage this.|Good of you to bring it up.|Leave it to us two.|I can imagine how that is."
        "|Let us take it step by step.|Many of us know that.",
        "heldout": "Do not worry.|I feel with you.|Together, we can handle this.|So good that you speak up.",
    },
    "talk": {
        "train": "How kind of you to ask!|Thank you!|Oh, lovely to hear from you.|Nice of you to stop by."
        "|What a pleasant question.|Hello, good to see you!|Thanks for thinking of me.|That is sweet of you."
        "|You made me smile.",
        "judge": "So nice of you!|I appreciate that.|Always good to talk to you.|Thanks a lot for asking.|Ah, wonderful."
        "|You are very kind.",
        "heldout": "That is thoughtful!|Many thanks.|A warm hello to you.|Good to have you here.",
    },
    "grumpy": {
        "train": "Sigh.|Ugh!|Not now!|What now?|Seriously?|Again?|Oof.|Really.|You again.|Do I look free?|Great, another one!"
        "|Make it quick.|Oh, come on!|Not my day.|Busy.|Here we go.",
        "judge": "Hm.|Must you?|Oh, wonderful!|Can this wait?|Please, not today!|I just sat down.|Pff.|Hmpf."
        "|Of all the moments.",
        "heldout": "Groan.|Leave it.|Typical!|Why me?|Honestly.|I am on break.",
    },
}

CLOSERS = {
    "joke": {
        "train": "I hope it made you smile!|Have a lovely rest of the day!|Shall I tell you another one?"
        "|Feel free to pass it on.|Enjoy your coffee!|That one always works on {other}.|Hope your day gets brighter."
        "|There is more where that came from.|Now you owe me one, with a smile.|Thanks for the little break.",
        "judge": "I hope you liked it!|Come back any time for more.|{other} still laughs about it.|Wishing you an easy day."
        "|A laugh keeps us all going.|Tell me yours when you like.",
        "heldout": "May it lighten your shift.|Have fun with it!|{other} told me that one, bless them.|Glad to brighten the day.",
    },
    "help": {
        "train": "Just call me if you need more.|I am glad to help.|We are a team, after all.|Have a good day!"
        "|You can always ask me.|{other} is happy to help as well.|Take your time.|It is really no bother.|See you soon!",
        "judge": "Come by whenever you like.|You would do the same for me.|I like to be of use.|{other} and I are here for you."
        "|Keep smiling!|Enjoy the rest of the day!",
        "heldout": "Tell me if anything is missing.|It is what colleagues are for.|I am just next door.|{other} sends kind regards, too.",
    },
    "advice": {
        "train": "Let me know how it goes!|I am on your side.|My door is always open.|{other} felt the same once, and all is well now."
        "|Thank you for telling me.|It will get better, I promise.|Be kind to yourself today.|Shall we talk again tomorrow?",
        "judge": "I am sure it will turn out fine.|Keep me posted, please.|All the best with it!|{other} will support you as well."
        "|You have got this.",
        "heldout": "It will be all right.|Come back and tell me more.|I believe in you.|{other} and I keep our fingers crossed.",
    },
    "talk": {
        "train": "And how are you?|You are always welcome at my desk.|Let us have a coffee soon.|Tell me about you, too."
        "|It is nice to chat with you.|{other} says hello, by the way.|Have a wonderful day!|See you around!",
        "judge": "What about yourself?|I would love to hear your news.|{other} sends greetings.|Let us talk more at the break."
        "|Enjoy your day!",
        "heldout": "And you, all well?|Looking forward to hearing more.|{other} says hi as well.|All the best to you!",
    },
    "grumpy": {
        "train": "Now let me work.|Close the door behind you.|Ask someone else.|Anything else? I hope not.|Bother {other} with it."
        "|And read the handbook next time.|I have things to do.|Are we done?|Good day.|Next time, send a ticket."
        "|It is not my problem.|I need coffee!|Move along!|That is all you get.",
        "judge": "I am going back to my desk.|Try {other}, not me.|Some of us are working here.|Do not come back before five."
        "|End of story.|My patience is in a meeting.|It says so on the wall.|Enough of that!",
        "heldout": "Off you go.|{other} has more patience than I do.|Look it up.|My break is over.|Spare me the rest!",
    },
}
