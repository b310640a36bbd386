"""Main instructions of the tasks, one per task, as they are written in demos."""

WORDINGS = (
    "put the item in the top drawer",
    "use the stick to drag the cube onto the white target",
    "turn right tap",
    "slide the block to yellow target",
    "open the top drawer",
    "put the sugar in the cupboard",
    "put the moon in the shape sorter",
    "put the money away in the safe on the top shelf",
    "store the money on the safe's top shelf",
    "push the violet button, then push the green button",
    "push the maroon button, then push the green button, then push the blue button",
    "close the white jar",
    "stack 4 white blocks",
    "place 3 cups on the cup holder",
    "stack the wine bottle to the right of the rack",
    "screw in the white light bulb",
    "sweep dirt to the short dustpan",
    "put the ring on the white spoke",
    "take the steak off the grill",
    "the steak is done, put it down next to the grill",
    "stack the other cups on top of the white cup",
    "Close the opened drawer, push the button, and then open the previous drawer again",
    "move the block on the color patch to the center, then press the button, and finally move "
    "the block back to where it was placed",
    "Move the block not on the patch to the empty patch, then press the button, then move the "
    "block that has not been moved off the patch",
)
