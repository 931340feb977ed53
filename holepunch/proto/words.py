"""256 words to say over a telephone: one is one byte.

Everyday things in English.  No two are alike enough to be taken for each other: three letters at least must
change to make another, and the first four letters tell which it is (both kept by a test).
"""

_TEXT = """
    acorn airport album almond amber anchor ankle antenna apron aquarium armchair aspen atlas autumn badge bamboo
    banjo barley basil basket beacon beaver bedrock bicycle biscuit blossom bonfire bottle boulder bramble breeze
    brick buffalo butter cabin cactus camel canoe canvas cargo castle catapult cedar cherry chestnut chimney cinema
    circus clarinet cobalt cobweb coconut compass copper cottage cradle crayon cricket crimson crystal cuckoo
    cupboard curtain cushion daffodil dagger daisy desert diamond dinner dolphin dominoes donkey drummer dungeon
    eagle echo eclipse elephant emerald engine envelope evening fabric falcon farmer feather fiddle flamingo flannel
    flute forest fossil fountain galaxy garden garlic gazelle giraffe glacier goblet gondola gorilla granite grape
    guitar hamster harbor harvest hedgehog helmet hickory horizon hornet iceberg igloo indigo island ivory jaguar
    jasmine javelin jelly jigsaw journey jungle juniper kayak kernel keyboard kitchen kiwi koala ladder lagoon
    lantern lemon leopard library lighthouse lilac lizard lobster locket lotus magnet mahogany marble marigold
    meadow meerkat meteor mitten monsoon mosaic muffin museum mushroom mustard nectar needle nickel nomad nutmeg
    ocean octopus olive onion opal orbit orchid oregano osprey ostrich pancake panda panther papaya parrot pasture
    peacock pebble pelican peninsula piano pigeon pillow pineapple pirate planet plaster platypus pony poplar potato
    prairie pretzel prism pumpkin puzzle pyramid quartz quilt rabbit radish raven ribbon rucksack saffron sailboat
    sapling sapphire scarlet scooter scorpion seahorse shovel silver sketch skylark slipper snorkel spinach squirrel
    stadium sunflower sunset swallow tailor teapot temple thimble thunder tiger toucan trombone trumpet tugboat
    tulip tundra turtle umbrella unicorn vanilla violet volcano vulture waffle walnut whisker window woodpecker
    yogurt zebra zeppelin zigzag
"""
WORDS: tuple[str, ...] = tuple(_TEXT.split())
"""In alphabetical order; the place of a word is its byte."""
