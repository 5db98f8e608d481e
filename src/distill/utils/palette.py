"""The colours of class maps."""


def _palette() -> bytes:
    colours = bytearray()
    for number in range(256):
        red = green = blue = 0
        for bit in range(8):
            shift = 7 - bit
            red |= (number >> (3 * bit) & 1) << shift
            green |= (number >> (3 * bit + 1) & 1) << shift
            blue |= (number >> (3 * bit + 2) & 1) << shift
        colours += bytes((red, green, blue))
    return bytes(colours)


PALETTE = _palette()
"""RGB of each of 256 classes, as VOC's masks have them: bits 0, 3 and 6 of the number are the highest of red, 1, 4
and 7 those of green, 2 and 5 those of blue; 0 is black, 255 nearly white.

Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", its development kit.
"""
