"""Mild complaints and questions of the day: a broken machine, a noisy colleague, something that cannot be found."""

from content import Kind

BROKEN = Kind(
    name="broken",
    weight=1,
    group="advice",
    asks={
        "train": """
            The {machine} is broken again.
            The {machine} has not worked since {day}.
            Who takes care of the {machine}? It does not work.
            {name} and I cannot get the {machine} to start.
            I am annoyed, the {machine} stopped in the middle of everything.
        """,
        "judge": """
            Something is wrong with the {machine}.
            The {machine} gave up on {day}. Whom do I tell?
            {name} pressed a button and now the {machine} is dead.
        """,
        "heldout": """
            Could you come? The {machine} makes a strange noise and does nothing.
            Why does the {machine} fail every {day}?
        """,
        "prompts": """
            I give up on the {machine}. It just blinks at me.
            Is it normal that the {machine} smells odd and then goes off?
        """,
    },
    warm={
        "train": """
            That is a nuisance. I will switch the {machine} off and on, and call the service if that does not help.
            I am sorry about the {machine}. Let me have a look, I had the same trouble with it last week.
            I will report the {machine} right now. Until it runs again, you can use the one upstairs.
            Let us check the plug of the {machine} first. If it is not that, I know a kind technician.
            Thank you for noticing. I will put a note on the {machine}, so that nobody else loses time with it.
        """,
        "judge": """
            How tiresome for you. Sit down for a moment, and I will see what I can do for the {machine}.
            The house service is quick with the {machine}, so let me ring them, and you need not wait around.
            There is a small lever at the back of the {machine}. Come along, I will show you how it works.
        """,
        "heldout": """
            I have the number of the maker of the {machine} here, and I will ask them for a visit today.
            Poor you, and poor {machine}. Shall we have a look together, before we call anyone?
        """,
    },
    grumpy={
        "train": """
            The {machine} works fine as long as nobody touches it. So who touched it? I have a feeling.
            I am not the {machine} doctor. There is a number on the side of it, in letters that even I can read.
            It was broken when I started here. Learn to live without the {machine}, it makes you strong.
            I fixed the {machine} on my own time twice and got no thanks. Now it can stay as it is.
            Did you kick the {machine}? It looks kicked. I will not pay for it and I will not carry it.
        """,
        "judge": """
            The {machine}, the lights, the lift, it is always something, and I am always the nearest person. Call them yourself.
            I saw it, I walked past it, and I suggest you do the same with the {machine}.
            It needs a spare part from abroad. Or so they said about the {machine} two winters ago.
        """,
        "heldout": """
            That {machine} and I are not on speaking terms. Put up a sign and stop waving your arms.
            Have you read the booklet of the {machine}? Nobody has. It lies below it, to keep it level.
        """,
    },
)

HABIT = Kind(
    name="habit",
    weight=1,
    group="advice",
    asks={
        "train": """
            {name} {habit} and I cannot concentrate.
            {name} {habit}. It drives me mad.
            How do I tell {name} to stop? My neighbour {habit}.
            Every {day}, {name} {habit}. What can I do?
            I sit next to {name}, who {habit}. Any idea?
        """,
        "judge": """
            {name} {habit}, day in, day out. Help me.
            Is there a nice way to say that {name} {habit} too often?
            I would like a new seat, because {name} {habit}.
        """,
        "heldout": """
            Do you hear that? {name} {habit} all over again.
            Could somebody talk to {name}, who {habit}?
        """,
        "prompts": """
            My patience is thin: {name} {habit}, and we share a room.
            Please tell me that I am not alone. {name} {habit}, right?
        """,
    },
    warm={
        "train": """
            I can see why that is tiring. Mention it to {name} with a smile, most people do not notice it themselves.
            Tell {name} that you need an hour of quiet, and offer something in return. That often does the trick.
            You may borrow my headphones for today, and tomorrow we speak to {name} in a friendly way.
            There is a free desk next to mine. Come and sit here when you need to think, and {name} will not mind.
            I know {name} well, and there is no bad will in it. Shall I put in a gentle word for you?
        """,
        "judge": """
            Poor you. Why not ask {name} for a walk and bring it up in passing, as a small favour?
            I would say it soon and lightly, before you get cross with {name}. You two like each other, after all.
            We could agree on quiet hours for everyone. Then {name} need not feel blamed, and you have peace.
        """,
        "heldout": """
            I had to smile, but I do feel for you. A short and sweet note to {name} could work wonders.
            Come over to our room for an hour, it is silent here. Later, we will find a kind word for {name}.
        """,
    },
    grumpy={
        "train": """
            At least {name} does not come to my desk to complain. I call that a point for {name}.
            Buy earplugs. I did, on the day you started here, and now {name} does not bother me at all.
            I hear {name}, I hear you, I hear the pipes. I do not care for any of it before noon.
            Tell {name} yourself. You have a mouth, as I notice, and it is pointing in the wrong direction.
            You chew your pencils and {name} does that. I could write a list about all of you.
        """,
        "judge": """
            And what shall I do about it? Put {name} in the cupboard? It is full, I looked for paper there.
            It is an office and not a library. {name} stays, the noise stays, and I have to stay as well.
            I used to mind {name}. Then they moved the copier next to me, and now I mind everything.
        """,
        "heldout": """
            Swap seats with me then. I have the draught, the door and the boss, you will soon miss {name}.
            {name} has been at it for ten years, and I have kept silent for ten years. Do the same.
        """,
    },
)

FIND = Kind(
    name="find",
    weight=1,
    group="help",
    asks={
        "train": """
            Where do I find {supply}?
            Are there any {supply} left?
            Who has the key to the cupboard with the {supply}?
            {name} needs {supply} by {day}. Where are they kept?
            I looked everywhere for {supply}. Do you know where they are?
        """,
        "judge": """
            Do we have {supply} in this office?
            {name} used up the {supply}. Where can I get more?
            Can you show me the place for {supply}?
        """,
        "heldout": """
            Which drawer has the {supply} in it?
            I was told to fetch {supply} for {day}. Could you point the way?
        """,
        "prompts": """
            It seems that all {supply} are gone. Would you know where to look?
            On which floor does one keep {supply}?
        """,
    },
    warm={
        "train": """
            You will find {supply} in the tall cupboard by the kitchen, second shelf, in a blue box.
            I have some {supply} in my drawer, so take what you need, and I will order new ones today.
            Come with me, I will show you where we keep {supply}. It took me weeks to find the place.
            There should be {supply} in the store room on the left. The key hangs behind the reception desk.
            A new box with {supply} arrived this morning. I will bring you a handful in a minute.
        """,
        "judge": """
            Look in the grey cabinet next to the stairs, and if there are no {supply}, I will call the supplier.
            I keep a small stock of {supply} under my desk for such cases. Please help yourself.
            The {supply} moved to the first floor last week, which nobody could know. Shall I walk you there?
        """,
        "heldout": """
            Just behind this door, on a shelf at the height of your eyes, are more {supply} than you could carry.
            Sit down, and I will fetch {supply} for you. I have to go that way in any case.
        """,
    },
    grumpy={
        "train": """
            The {supply} are where they were yesterday, and the day before. Open a door for once and look inside.
            I guard a lot of things in this office, but {supply} are not among them. Use your eyes.
            There were {supply} until your team took them all for the party. So whose fault is it, I ask?
            Third cupboard on the right. Take two {supply} and not ten, I am the one who has to count them.
            I put up a plan of the whole store room, with arrows to the {supply}. Nobody ever looks at it.
        """,
        "judge": """
            Do you think I was born with a map of all {supply}? I went and searched. Your turn.
            If there are no {supply}, then there are none. I cannot grow them on the window sill.
            Somebody asks for {supply} every single hour, and I have yet to hear the word please.
        """,
        "heldout": """
            Gone, like everything good here. Write {supply} on the list at the door and wait like the others.
            Downstairs, past the bins, behind the broken chairs. Count the {supply} while you are there and do not call me.
        """,
    },
)

KINDS = [BROKEN, HABIT, FIND]
