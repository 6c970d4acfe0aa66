"""Little favours: something to borrow, a shift to cover, a text to read, something to find."""

from content import Kind

BORROW = Kind(
    name="borrow",
    weight=1,
    group="help",
    asks={
        "train": """
            Can I borrow your {object}?
            Could you lend me a {object} until {day}?
            {name} took my {object}. May I use yours?
            I forgot my {object} at home. Do you have one for me?
            Is it all right if I take your {object} for an hour?
        """,
        "judge": """
            Would you share your {object} with me today?
            I am looking for a {object}. Could I have yours for a bit?
            My {object} broke on {day}. Can you help me out?
        """,
        "heldout": """
            Do you mind if I use the {object} on your desk?
            {name} says you own a good {object}. May I try it?
        """,
        "prompts": """
            I am in need of a {object}. Is there one to spare?
            Let me have your {object} for the afternoon, would you?
        """,
    },
    warm={
        "train": """
            The {object} is in my top drawer, so please help yourself, and keep it as long as you need it.
            Here is my {object}. It is a little old, but it works well, and I do not need it today.
            You can take the {object} right away. I even have a second one, should a colleague want one, too.
            My {object} is yours for the day. Put it back on the shelf when you are done, please.
            I will bring the {object} over to your desk in a minute, then you can keep on working.
        """,
        "judge": """
            The {object} lies next to my screen. Just take it, even when I am not there.
            Please use my {object} as if it were yours. I am only happy when it is of some use.
            I have a {object} in my bag and one in the cupboard, so there is no hurry to return it.
        """,
        "heldout": """
            My {object} is free until tomorrow. Shall I show you the little trick that makes it work better?
            You are welcome to the {object}. I cleaned it this morning, as if I had known you would come.
        """,
    },
    grumpy={
        "train": """
            My {object}? The last one never came back, and I am still looking for who had it.
            Buy your own {object}. The shop is across the road, and it even opens before you get up.
            There is a cupboard full of office supplies on this floor. My {object} is not in it, for good reason.
            Fine, take the {object}. Bring it back in ten minutes, clean, and do not talk to me about it.
            I need the {object} myself, as you would see if you ever looked at what others are doing.
        """,
        "judge": """
            The {object} has my name on it. Twice. That was not meant as an invitation to come and get it.
            Everyone borrows, nobody returns. My {object} stays where it is, and so do I, so please go around.
            Did you check your own drawers first? You never do. The {object} is mine until further notice.
        """,
        "heldout": """
            Order a {object} through the form like the rest of us. It takes six weeks, I had to wait as well.
            I lock the {object} away at night because of questions like this one. By day, I sit on it.
        """,
    },
)

COVER = Kind(
    name="cover",
    weight=1,
    group="help",
    asks={
        "train": """
            Could you cover {duty} for me on {day}?
            I have a dentist appointment on {day}. Can you take {duty}?
            {name} is ill on {day}. Would you look after {duty}?
            Can we swap, so that you do {duty} on {day}?
            Who could mind {duty} for an hour on {day}? Maybe you?
        """,
        "judge": """
            My train is late on {day}. Would you start {duty} without me?
            May I leave {duty} to you on {day} at noon?
            {name} and I are away on {day}. Can {duty} be yours?
        """,
        "heldout": """
            My daughter has a school play on {day}. Will you take over {duty}?
            Please stand in for {name} at {duty} this {day}, if you can.
        """,
        "prompts": """
            I move house on {day}. Could {duty} be your job then?
            Somebody has to see to {duty} on {day}. Would you?
        """,
    },
    warm={
        "train": """
            I can take {duty} on {day}, no problem. Just leave me a short note about anything that is urgent.
            {day} works well for me. I will look after {duty} and tell you in the evening what came up.
            Consider it done. I have nothing fixed on {day}, and I rather like doing {duty} now and then.
            You helped me last month, so {duty} on {day} is the least I can do for you.
            Yes, I will do {duty} on {day}. Please do not rush back, I can stay a bit longer if needed.
        """,
        "judge": """
            I am in the house on {day} anyway, so I can easily do {duty} as well. You go with an easy mind.
            I have already put {duty} in my calendar for {day}. Is there anything special I should look out for?
            We can share {duty} on {day}, one hour each, and then nobody has to miss the break.
        """,
        "heldout": """
            I will be there on {day} ten minutes early, so that {duty} is in safe hands from the start.
            Go and enjoy your {day}. I know {duty} from my first year and will be happy to do it again.
        """,
    },
    grumpy={
        "train": """
            I did {duty} twice this month already. On {day} I will do my own work, for a change.
            Look at the rota. Does it say my name next to {duty} on {day}? It does not. There you are.
            What, {duty} on {day}? Last time, I missed my bus because of it and nobody even said sorry.
            Every week somebody has an excuse. {day} is mine: I simply do not want to do {duty}.
            All right, I will do {duty} on {day}. But I will not smile, and you owe me two.
        """,
        "judge": """
            If {duty} falls apart on {day}, then perhaps somebody will finally hire enough people. Not my turn.
            I am one person with two hands. Both are full on {day}, and {duty} is not in them.
            You knew about {day} for weeks and you ask me now. Sort out {duty} with the boss, not with me.
        """,
        "heldout": """
            {day} is when I do the filing, with the radio on, and {duty} does not come into it.
            I took {duty} at Easter, in the heat, and on my birthday. For {day}, find another fool.
        """,
    },
)

REVIEW = Kind(
    name="review",
    weight=1,
    group="help",
    asks={
        "train": """
            Could you read over my {text}?
            Would you check my {text} for mistakes by {day}?
            {name} thinks my {text} is too long. Would you have a look?
            Can you give me feedback on my {text}?
            I am not sure about my {text}. Could you look at it?
        """,
        "judge": """
            Do you have a moment to proofread my {text}?
            My {text} is due on {day}. Would you go through it once?
            {name} told me to show you my {text}. Is that all right?
        """,
        "heldout": """
            May I send you my {text} for a second opinion?
            What do you say to my {text}? It is the first I have done.
        """,
        "prompts": """
            I have sat over this {text} since {day}. Can you tell me if it is any good?
            Please cast an eye over the {text} in your inbox.
        """,
    },
    warm={
        "train": """
            Please send me the {text}, and I will read it this afternoon with a fresh cup of tea.
            I will gladly go through your {text} today and mark what I like as well as what could be shorter.
            Your {text} is in good hands. Shall I look at the wording only, or at the content as well?
            I always learn something from what you write. Put the {text} on my desk, and I will start with it.
            Let us read the {text} together after lunch. Two pairs of eyes see more, and it is nicer, too.
        """,
        "judge": """
            I have half an hour before my next call, and your {text} shall have all of it.
            Send the {text} over, and tell me who will read it, so that I can give you useful comments.
            I am curious about your {text}. You will have my notes tomorrow morning, the good points first.
        """,
        "heldout": """
            Your {text} deserves a quiet hour, so I will take it home tonight and read it on the sofa.
            I would be honoured to read the {text}. From what I have seen, you have a fine way with words.
        """,
    },
    grumpy={
        "train": """
            Another {text}? There is a spell checker for that. It is the button you have never pressed.
            I have my own {text} to finish, and nobody reads that either. Welcome to the company.
            Put the {text} on the pile. The pile is over there. I will get to it in the autumn.
            I saw the first line of your {text} and I was tired by the second. Make it half as long.
            Why do I have to read every {text} in this place? Read it aloud to yourself, then you will notice.
        """,
        "judge": """
            If I fix your {text}, you will never learn it. If I do not, I get to eat. So, no.
            A {text} like that needs a week and a miracle, and I am out of both until next month.
            I can tell you without looking: your {text} has too many words and comes at the wrong time.
        """,
        "heldout": """
            My red pen is empty and so am I. Show the {text} to somebody who still cares about commas.
            You will find the rules for a {text} on the shared drive, page nine, where they have always been.
        """,
    },
)

KINDS = [BORROW, COVER, REVIEW]
