"""Order problems: late, damaged, wrong or incomplete parcels, addresses, labels, warranty."""

from content import Ask, Then, Topic

LATE_PARCEL = Topic(
    name="late_parcel",
    empathy=[
        "I'm sorry your parcel is late, waiting by the door is no fun.",
        "I understand how annoying it is when a delivery does not come as promised.",
        "Sorry about the delay, you ordered in time and expected us to deliver in time.",
        "I'm sorry order {order} has not reached you yet.",
        "A parcel that does not show up is frustrating, and I'm sorry for the wait.",
    ],
    plans=[
        [
            [
                "Open My orders and press Track parcel to see where it is right now.",
                "Press Track parcel in My orders for the newest position.",
                "Open My orders > {order} and press Track parcel.",
            ],
            [
                "If nothing has moved for three days, press Report as late.",
                "Has it stood still for three days? Then choose Report as late.",
            ],
            [
                "Pick a new parcel or your money back, we then act within one working day.",
                "Choose between a second delivery and a refund on the next page.",
            ],
        ],
        [
            [
                "Check that the delivery address in the order mail is right.",
                "Compare the address in your order mail with the one you live at.",
            ],
            [
                "Ask your neighbours and look for a card from the driver.",
                "Look for a card from the carrier, and ask next door.",
            ],
            [
                "Nothing there? Press Report as late in My orders, and we start a search.",
                "If nobody has it, choose Report as late in My orders and we trace the parcel.",
            ],
        ],
    ],
    asks=[
        Ask("Where is my parcel? It should have been here on {weekday}."),
        Ask("order {order} still not here"),
        Ask(
            "Hello, I ordered a {item} on {date} and was told three working days. It has now been more "
            "than a week. Could you find out what happened? Thank you, {name}"
        ),
        Ask(
            "tracking hasnt moved since {weekday}, is my package lost",
            plan=0,
            then=Then(
                "now it says delivered but there is nothing here!!",
                "I'm sorry, reading Delivered in front of an empty doorstep is maddening.",
                [
                    "Look around the house and ask next door, drivers sometimes scan too early.",
                    "Open Track parcel and check the photo or signature of the delivery.",
                    "If it is not yours, press Not received, and we send a new one.",
                ],
            ),
        ),
        Ask(
            (
                "I took a day off work to be at home for your delivery and nobody came. Do you have any idea "
                "how that feels?"
            ),
            empathy="I'm sorry you gave up a day off for a delivery that never came.",
        ),
        Ask(
            (
                "My son's birthday is tomorrow and the present is stuck somewhere. Order {order}. Please "
                "tell me it will make it!"
            ),
            plan=0,
            empathy="I'm sorry the birthday present in order {order} is cutting it so close.",
        ),
        Ask(
            (
                "We moved the office and expected twelve desk lamps last {weekday}. My people are sitting in "
                "the dark, only half joking."
            ),
            empathy="I'm sorry your team is sitting in the dark because of us.",
            then=Then(
                "Six lamps came just now. The other six?",
                "Half a delivery is only half a comfort, I'm sorry.",
                [
                    "Open My orders and see whether the order shows two parcels.",
                    "Press Track parcel on the second one for its delivery day.",
                    "If there is only one, choose Something is missing, and we send the rest.",
                ],
            ),
        ),
        Ask(
            "Its been 9 days. I payed for express shipping!",
            empathy="I'm sorry you paid for express and have been waiting nine days.",
            steps=[
                "Open My orders and press Track parcel to see where it got stuck.",
                "Choose Report as late, an express parcel is traced the same day.",
                "Tick Refund express fee on that page, you get it back in any case.",
            ],
        ),
        Ask(
            ("Could you please check on my {item}? It left your warehouse on {date} and seems to be on a world tour."),
            plan=0,
        ),
    ],
    heldout=[
        Ask("My delivery was due two days ago and the carrier can't tell me anything. The number is {order}."),
    ],
)

DAMAGED_ITEM = Topic(
    name="damaged_item",
    empathy=[
        "I'm sorry your {item} arrived damaged, that is a real letdown.",
        "Opening a parcel and finding something broken is disappointing, and I'm sorry.",
        "Sorry that your order did not survive the trip in one piece.",
        "I understand your disappointment, you paid for something whole.",
        "I'm sorry about the damage, our packing should have prevented it.",
    ],
    plans=[
        [
            [
                "Take two photos, one of the damage and one of the box.",
                "Photograph the damage and the parcel with its label.",
            ],
            [
                "Open My orders, choose the item and press Report damage.",
                "Go to My orders, press Report damage and add the pictures.",
                "Open My orders > {order}, press Report damage and add the pictures.",
            ],
            [
                "Pick a new item or a refund, we confirm on the same day.",
                "Choose replacement or refund, you do not need to send a letter.",
            ],
        ],
        [
            [
                "Do not use it any more, and keep all parts and the box.",
                "Put everything back in its box and keep the packing material.",
            ],
            [
                "Send us photos through My orders > Report damage within fourteen days.",
                "Upload a photo under My orders > Report damage, one is enough.",
            ],
            [
                "Print the free return label we mail you and hand the box in.",
                "Take the box to a parcel shop with the free label from our mail.",
            ],
            [
                "A new one leaves our warehouse the next working day.",
                "We send a new one the next working day.",
            ],
        ],
    ],
    asks=[
        Ask("The {item} arrived broken."),
        Ask("Box was crushed, {item} inside is cracked. Order {order}. What now?"),
        Ask(
            (
                "I unpacked the {gadget} in front of my whole team, and it fell apart in my hands. "
                "Embarrassing, and not what I paid {amount} for!"
            ),
            empathy="I'm sorry the {gadget} fell apart in front of your whole team.",
        ),
        Ask(
            "hi, screen of the label printer has a big scratch, brand new. can i swap it?",
            plan=0,
            then=Then(
                "Photos are sent. Can I keep using it until the new one is here?",
                "I understand you do not want to be without a printer in the meantime.",
                [
                    "Go ahead and use it, a scratched screen is safe.",
                    "Keep the box, you need it for sending the old one back.",
                    "Return it within fourteen days after the new one arrives.",
                ],
            ),
        ),
        Ask(
            (
                "Dear Sir or Madam, the {gadget} delivered on {date} has a dent on one side and does not "
                "switch on. I should be grateful for a replacement. Yours faithfully, {name}"
            ),
            empathy="I'm sorry your new {gadget} came with a dent and does not switch on.",
        ),
        Ask(
            "glass broken, careful i cut my finger. who packs these things",
            empathy="I'm so sorry you cut your finger, I hope it is nothing serious.",
            steps=[
                "Look after your hand first and leave the pieces in the box.",
                "Take one photo of the box from a safe distance.",
                "Upload it under My orders > Report damage, you need not send the glass back.",
            ],
        ),
        Ask(
            ("One leg of the desk chair is bent. I could straighten it myself but I'd rather not at that price."),
            empathy="I'm sorry about the bent leg, you should not have to repair a new chair.",
        ),
        Ask(
            "My parcel was soaking wet and so was everything in it. The {item} is ruined.",
            then=Then(
                "I already threw the wet box away, is that a problem?",
                "Do not worry, nobody likes to keep a soggy box around.",
                [
                    "Take a photo of the item and of any label you still have.",
                    'Write "box thrown away" in the damage report.',
                    "Use any other sturdy box if we ask you to send it back.",
                ],
            ),
        ),
        Ask(
            (
                "There's a nasty smell of burnt plastic from the {gadget} I got on {weekday}. I've unplugged "
                "it. Is it dangerous?"
            ),
            empathy="I'm sorry about the scare, you were right to unplug the {gadget} at once.",
            steps=[
                "Leave it unplugged and put it somewhere away from fabric and paper.",
                "Press Report damage in My orders and tick Safety problem.",
                "We collect it from your door and send a new one at no cost.",
            ],
        ),
    ],
    heldout=[
        Ask(
            "I've just opened my delivery and the {item} has a crack right through the middle.",
            then=Then(
                "Done. Who pays for sending the broken one back?",
                "I understand the question, our packing should not cost you a penny.",
                [
                    "Use the free label from our mail, we pay for it.",
                    "Put the broken one into any sturdy box and tape it well.",
                    "Keep the receipt from the parcel shop until the new one has arrived.",
                ],
            ),
        ),
    ],
)

WRONG_ITEM = Topic(
    name="wrong_item",
    empathy=[
        "I'm sorry we sent you the wrong thing, that is our mistake.",
        "Expecting one thing and unpacking another is annoying, and I'm sorry.",
        "Sorry for the mix-up, you should get exactly what you ordered.",
        "I understand your disappointment at finding the wrong item in the box.",
        "I'm sorry about our packing mistake and the extra trouble for you.",
    ],
    plans=[
        [
            [
                "Open My orders, choose the item and press Wrong item received.",
                "Find the item in My orders and choose Wrong item received.",
                "Open My orders > {order} and press Wrong item received.",
            ],
            [
                "Add a photo of what you got, with the sticker on the box in view.",
                "Take a photo of the article and its barcode and upload it there.",
            ],
            [
                "Print the free label and hand the parcel in, the right one leaves the same day.",
                "We send the right one at once, and you return the other with our free label.",
            ],
        ],
        [
            [
                "Compare the article number on the box with the one in your order mail.",
                "Check the number on the box against your order mail.",
            ],
            [
                "If they differ, press Wrong item received in My orders.",
                "If the numbers are not the same, choose Wrong item received in My orders.",
            ],
            [
                "Choose whether you want the right item or your money back.",
                "Pick the right item or a refund on the next page.",
            ],
            [
                "Send the wrong one back with the free label, within fourteen days.",
                "Drop the wrong one at any parcel shop, the label costs you nothing.",
            ],
        ],
    ],
    asks=[
        Ask("You sent me the wrong item."),
        Ask(
            "ordered a {item}, got a box of coffee filters. seriously?",
            plan=0,
            empathy="I'm sorry you found coffee filters instead of your {item}.",
        ),
        Ask(
            "Order {order}: the colour is wrong. I asked for black and this is bright orange.",
            empathy="I'm sorry order {order} came in bright orange instead of black.",
        ),
        Ask(
            (
                "Hello, the parcel I received on {weekday} has my name on it, but the content clearly "
                "belongs to somebody else. What shall I do with it? Best regards, {name}"
            ),
            empathy="I'm sorry you received somebody else's things, and thank you for telling us.",
            steps=[
                "Please keep everything in the box and do not use it.",
                "Open My orders, press Wrong item received and add a photo of the packing slip.",
                "Hand it in with our free label, your own parcel leaves the same day.",
            ],
        ),
        Ask(
            (
                "I was so looking forward to the {item}, and there is a phone case in the box. I don't even "
                "have that phone."
            ),
            plan=0,
            empathy="I'm sorry you unpacked a phone case when you were looking forward to the {item}.",
        ),
        Ask(
            ("Can I keep the wrong thing you sent? Kidding. But how do I swap it without paying postage twice?"),
            then=Then(
                "I don't have a printer for that label.",
                "No printer is no problem, and I'm sorry that was not mentioned.",
                [
                    "Choose QR code instead of PDF on the label page.",
                    "Show the code on your phone at the parcel shop, they print it for you.",
                    "Keep the receipt until the right item has arrived.",
                ],
            ),
        ),
        Ask(
            "You packed the old model instead of the new one I paid for. I hope that wasn't on purpose.",
            empathy="I'm sorry you got the old model, I promise it was a mistake.",
            then=Then(
                "Fine. But the new model is now shown as sold out!",
                "I'm sorry, sold out is the last thing you want to read now.",
                [
                    "Choose Keep my place on the swap page, a few pieces are set aside for swaps.",
                    "Look at the delivery week shown there before you confirm.",
                    "If it is too late for you, pick the refund instead.",
                ],
            ),
        ),
        Ask(
            "i got {colleague}'s order and {colleague} got mine, we work in the same building haha",
            empathy="What a mix-up, I'm sorry you and {colleague} had to find that out yourselves.",
            steps=[
                "Swap the two parcels, if that is easy for you both.",
                "Check the content against the packing slip with your name.",
                "Press Wrong item received in My orders, so that the warranty names the right person.",
            ],
        ),
        Ask(
            "There's a left-handed mouse in my parcel. I am right-handed and I ordered a {gadget}.",
            empathy="I'm sorry you got a left-handed mouse in place of your {gadget}.",
            plan=0,
        ),
    ],
    heldout=[
        Ask("I unpacked my parcel and this is not what I bought. I wanted a {item}."),
    ],
)

MISSING_ITEM = Topic(
    name="missing_item",
    empathy=[
        "I'm sorry your parcel was not complete, that spoils the joy of unpacking.",
        "Finding a gap in the box is annoying, and I'm sorry about it.",
        "Sorry that something is missing, you paid for all of it.",
        "I understand the frustration when one piece keeps you from getting started.",
        "I'm sorry we left something out of your box.",
    ],
    plans=[
        [
            [
                "Look through all the paper and foil once more, small parts like to hide.",
                "Check the packing paper and the inner box, small parts slip in there.",
            ],
            [
                "See in My orders whether a second parcel is on its way.",
                "Open My orders to see if the order was split into two parcels.",
                "Open My orders > {order} and see whether a second parcel is coming.",
            ],
            [
                "If not, press Something is missing, and we send it free of charge.",
                "Otherwise choose Something is missing, the part leaves us the next day.",
            ],
        ],
        [
            [
                "Compare the packing slip with what lies in front of you.",
                "Tick off what you have on the packing slip.",
            ],
            [
                "Press Something is missing in My orders and mark the missing part.",
                "Open My orders, choose Something is missing and name the part.",
            ],
            [
                "Pick a second delivery or a partial refund, we reply on the same day.",
                "Choose whether we send it on or refund that part, we confirm the same day.",
            ],
        ],
    ],
    asks=[
        Ask("There is something missing from my order."),
        Ask("screws missing, cant build the desk chair"),
        Ask(
            ("I ordered three units of the {item} and only two are in the box, order {order}. Where is the third?"),
            plan=1,
            empathy="I'm sorry one of the three items in order {order} did not make it into the box.",
        ),
        Ask(
            "No power cable in the box of my label printer. It's a very pretty paperweight now.",
            empathy="I'm sorry your printer is only a paperweight without its cable.",
            then=Then(
                "How long will the cable take? I have to print labels on {weekday}.",
                "I understand you need the printer to be running by {weekday}.",
                [
                    "Choose Express when you press Something is missing, it is free in this case.",
                    "Until then, try any standard printer or monitor cable, the plug is the same.",
                    "Follow the cable under My orders > Track parcel.",
                ],
            ),
        ),
        Ask(
            "Hello, my delivery of {date} was incomplete: the manual and the small bag with the fittings "
            "are not there. Could you send them on? Many thanks, {name}"
        ),
        Ask(
            "Half my order isn't here, yet you charged the full {amount}. Not OK.",
            plan=1,
            empathy="I'm sorry you paid {amount} and received only half of your order.",
        ),
        Ask(
            "opened {order}, box was empty. completely empty. is this a joke",
            empathy="I'm sorry, an empty box is a bad joke and certainly not a planned one.",
            steps=[
                "Take photos of the empty box, its tape and the label with the weight.",
                "Open My orders > {order} and press Something is missing, then Everything.",
                "Keep the box for a week, a new parcel leaves us the next day.",
            ],
        ),
        Ask(
            (
                "I've been sitting on the floor for an hour with a half-built chair, counting parts. One "
                "bolt short. One!"
            ),
            empathy="I'm sorry a single bolt has kept you on the floor for an hour.",
        ),
        Ask(
            "My headset came without the ear pads shown in the picture. Are they sold separately?",
            plan=0,
            then=Then(
                "I found the ear pads under the foam! So sorry for the fuss.",
                "No need to be sorry, they hide well and I'm glad you found them.",
                [
                    "Close the report under My orders, so that nothing is sent twice.",
                    "Press each pad on until it clicks all the way round.",
                    "Keep the foam and the box in case you need the warranty.",
                ],
            ),
        ),
    ],
    heldout=[
        Ask("The power cable of my {gadget} was not in the package, although it is on the packing slip."),
    ],
)

CHANGE_ADDRESS = Topic(
    name="change_address",
    empathy=[
        "I understand the worry that your parcel goes to the wrong door.",
        "Wrong addresses happen fast, and I understand you want this one corrected.",
        "I'm sorry the address is causing you a headache.",
        "I see you need the parcel somewhere else, and that should be easy to change.",
        "Sorry for the stress, a wrong address is quickly put right.",
    ],
    plans=[
        [
            [
                "Open My orders and check that the order is not marked Packed.",
                "Look in My orders whether the parcel has left us yet.",
                "Open My orders > {order} and see whether it is already packed.",
            ],
            [
                "If it has not, press Change address and type the new one.",
                "Not yet on its way? Press Change address and enter the right one.",
            ],
            [
                "If it has left, open Track parcel and choose Redirect.",
                "Already on its way? Use Redirect in Track parcel, it is free.",
            ],
        ],
        [
            [
                "Press Change address in My orders, this works until the parcel is packed.",
                "Open My orders and choose Change address before the parcel is packed.",
            ],
            [
                "Read the new confirmation mail and check street and postcode.",
                "Wait for the new order mail and check every line of the address.",
            ],
            [
                "Save it under Settings > Addresses as your default for next time.",
                "Delete the old one under Settings > Addresses, so that it is not used again.",
            ],
        ],
    ],
    asks=[
        Ask("How do I change the delivery address of my order?"),
        Ask("wrong adress on order {order}!! can u change it"),
        Ask(
            "I moved last month and, silly me, had the {item} sent to my old flat. Can you still catch it?",
            plan=0,
            empathy="It is easy to forget that after a move, and I'm sorry for the worry.",
            then=Then(
                "Redirect is greyed out. The new tenant isn't answering the door either.",
                "I'm sorry, that leaves your parcel in a very awkward place.",
                [
                    "Ask the carrier to hold it at the depot, the number is in Track parcel.",
                    "Leave a note for the new tenant, so that the parcel is refused.",
                    "A refused parcel returns to us, and we send it to your new address free.",
                ],
            ),
        ),
        Ask(
            ("Please deliver to my office rather than my home, I am never there during the day. Thank you! {name}"),
            plan=0,
            empathy="I understand there is no point in ringing at an empty home all day.",
        ),
        Ask(
            "house number missing in the address, order from {date}",
            empathy="I'm sorry, a missing house number is easily overlooked when ordering.",
        ),
        Ask(
            "Your website filled in my ex-husband's address by itself. I do NOT want my parcel to go there.",
            empathy="I'm sorry our website picked that address, I understand it must not go there.",
        ),
        Ask(
            "I'm in hospital until {weekday}, could the parcel go to my sister instead?",
            plan=0,
            empathy="I hope you get well soon, and sending the parcel to your sister is no problem.",
        ),
        Ask(
            "can i send my parcel to a pickup shop? nobody home",
            empathy="I understand you do not want the parcel left in front of an empty house.",
            steps=[
                "Open My orders and press Change address before the parcel is packed.",
                "Choose Pickup shop and enter your postcode to see shops near you.",
                "Bring an ID, the shop keeps your parcel for seven days.",
            ],
        ),
        Ask(
            "The postcode in my profile is wrong and every parcel takes a week longer because of it.",
            empathy="I'm sorry a wrong postcode has been slowing down all your parcels.",
            steps=[
                "Open Settings > Addresses and press Edit next to the address.",
                "Correct the postcode and save it as your default.",
                "Check My orders, anything not yet packed can be changed there too.",
            ],
        ),
    ],
    heldout=[
        Ask("I noticed too late that {order} is going to my old place. Is there a way to send it to the new one?"),
    ],
)

RETURN_LABEL = Topic(
    name="return_label",
    empathy=[
        "I'm sorry the return label is giving you trouble.",
        "Sending something back should be the easy part, and I'm sorry it is not.",
        "I understand you just want that parcel out of the house.",
        "Sorry that a simple label is holding up your return.",
        "I understand that you want this return done and out of your mind.",
    ],
    plans=[
        [
            [
                "Open My orders, press Return item and choose Label as PDF.",
                "Go to My orders, choose Return item and save the label as a PDF.",
                "Open My orders > {order}, press Return item and choose Label as PDF.",
            ],
            [
                "Open the saved file in a PDF reader and not in the browser.",
                "Download the file first and open it with your PDF program.",
            ],
            [
                "Print it at Actual size on A4, black and white is fine.",
                "Set the scale to 100 percent and print, so that the barcode stays readable.",
            ],
        ],
        [
            [
                "Press Return item in My orders and choose QR code instead of a label.",
                "Choose QR code on the return page in My orders, then no printer is needed.",
            ],
            [
                "Show the code on your phone at any parcel shop, they print the label.",
                "Take phone and parcel to a parcel shop, the label is printed there.",
            ],
            [
                "Keep the receipt until your refund has arrived.",
                "Ask for a receipt and keep it as proof.",
            ],
        ],
    ],
    asks=[
        Ask("I can't print the return label."),
        Ask("where do i get the label to send {order} back"),
        Ask(
            "The return label comes out tiny, the size of a stamp. The man at the parcel shop laughed at me.",
            empathy="I'm sorry the tiny label made you the joke of the parcel shop.",
            steps=[
                "Save the label as a PDF from My orders > Return item.",
                "Open it in a PDF reader, press Print and choose Actual size.",
                "Or show the QR code from the return page, the shop prints it for you.",
            ],
        ),
        Ask(
            "hello, i have no printer at home and need to return the {gadget}. what can i do? {name}",
            empathy="No printer at home is common, and I understand you want the {gadget} returned.",
            steps=[
                "Open My orders, press Return item and choose QR code.",
                "Take your phone and the packed {gadget} to any parcel shop.",
                "Let them scan the code, and keep the receipt they give you.",
            ],
            then=Then(
                'They scanned it and the machine said "code expired".',
                "I'm sorry you carried the parcel there for nothing.",
                [
                    "Open the return in My orders and press New code.",
                    "Use it within seven days, older codes stop working.",
                    "If the shop cannot scan it, read them the number below the code.",
                ],
            ),
        ),
        Ask(
            ("Label page stays blank in {browser}. I have pressed Print about fifty times and wasted a lot of paper."),
            empathy="I'm sorry about all that wasted paper and the blank page in {browser}.",
        ),
        Ask(
            "The label printer you sold me prints return labels with a black bar right through the barcode.",
            empathy="I'm sorry the black bar makes your return labels useless.",
            steps=[
                "Clean the print head with a soft cloth while the printer is off.",
                "Insert the roll again and run Calibrate in the printer menu.",
                "Print one test label at Actual size and check the barcode.",
            ],
            then=Then(
                "The bar is thinner now, but it's still there.",
                "I'm glad it is getting better, and sorry that it is not gone yet.",
                [
                    "Clean the head once more with a little alcohol and let it dry.",
                    "Lower Darkness in the printer menu by two steps.",
                    "If the bar stays, press Warranty in My orders for a new print head.",
                ],
            ),
        ),
        Ask(
            "I need two labels because my return is split into two boxes. The page only gives me one.",
            empathy="I see the problem, one label is not much use for two boxes.",
            steps=[
                "Open My orders, press Return item and set Number of parcels to two.",
                "Download both labels, each box needs its own barcode.",
                "Hand in both boxes together and keep both receipts.",
            ],
        ),
        Ask(
            "You ask ME to print a label for YOUR mistake? Fine. But where is the thing?",
            empathy="I understand your anger, our mistake should not mean extra work for you.",
        ),
        Ask(
            "my lable for the {item} got lost, how can i get a second one",
            empathy="Labels get lost easily, and I'm sorry for the extra trouble with your {item}.",
        ),
    ],
    heldout=[
        Ask("How do I get a label for sending {order} back? The page in {browser} won't open it."),
    ],
)

WARRANTY = Topic(
    name="warranty",
    empathy=[
        "I'm sorry your {gadget} gave up, it should have lasted much longer.",
    ],
    plans=[
        [
            ["Open My orders, choose the {gadget} and press Warranty, it lasts two years."],
            ["Describe the fault in one sentence and add a photo or a short video."],
            ["Print the free label, we repair or replace it within ten days."],
        ],
    ],
    asks=[],
    heldout=[
        Ask("My {gadget} stopped working after eleven months. Is it still under warranty?"),
        Ask(
            "bought the webcam on {date}, now its dead. lost the receipt tho. any chance of a repair",
            empathy="I'm sorry your webcam died, and a lost receipt is no problem.",
            steps=[
                "Open My orders, where your purchase is stored as proof.",
                "Choose the webcam, press Warranty and describe the fault.",
                "Send it in with the free label, we repair or replace it within ten days.",
            ],
        ),
    ],
)

TOPICS = [
    LATE_PARCEL,
    DAMAGED_ITEM,
    WRONG_ITEM,
    MISSING_ITEM,
    CHANGE_ADDRESS,
    RETURN_LABEL,
    WARRANTY,
]
