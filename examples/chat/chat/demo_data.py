"""The accounts, rooms and lines that a fresh demo has."""

PASSWORD = "antiphon"
ACCOUNTS = ["ada", "alan"]
MODERATORS = ["ada"]  # may remove somebody from a room

# name, topic, lines: (minutes ago, who, what)
ROOMS = [
    (
        "General",
        "Whatever does not fit elsewhere",
        [
            (1620, "alan", "Good morning! Is anybody reading this?"),
            (1618, "ada", "I am. It arrived before I had put the tea down."),
            (1617, "ada", "Try pulling the plug and writing something meanwhile."),
            (1611, "alan", "Did that. It waited, then sent itself once I was back. Nothing lost, nothing twice."),
            (64, "ada", "Open this room in a second window and log in as the other one of us."),
            (63, "ada", "You will see who is writing, and each line as it is sent."),
            (58, "alan", "And if you scroll up, new lines wait below until you ask for them."),
        ],
    ),
    (
        "Engine room",
        "The analytical engine, and other machines",
        [
            (2960, "ada", "The engine weaves algebraic patterns just as the loom weaves flowers and leaves."),
            (2955, "alan", "How many cards for the Bernoulli numbers?"),
            (2953, "ada", "Fewer than you fear:\n  1. the loop\n  2. the loop again\n  3. patience"),
            (131, "alan", "We can only see a short distance ahead, but we can see plenty there that needs to be done."),
        ],
    ),
    (
        "Tea at four",
        "Bring your own cup",
        [
            (205, "alan", "I have chained my mug to the radiator."),
            (203, "ada", "Sensible."),
        ],
    ),
]
