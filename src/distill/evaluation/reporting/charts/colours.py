"""A scale of colours for numbers: viridis, which keeps its order in grey and for the colour-blind."""

from markupsafe import Markup, escape

_STOPS = ((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
          (173, 220, 48), (253, 231, 37))  # fmt: skip


def viridis(share: float) -> tuple[str, str]:
    """A colour, and black or white, whichever is read better on it.

    Args:
        share: from 0 (dark blue) to 1 (yellow); beyond, the ends.

    Example:
        >>> viridis(0), viridis(1)
        (('#440154', '#fff'), ('#fde725', '#14161a'))
    """
    at = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    low = min(int(at), len(_STOPS) - 2)
    red, green, blue = (
        round(a + (b - a) * (at - low)) for a, b in zip(_STOPS[low], _STOPS[low + 1], strict=True)
    )  # fmt: skip
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return f"#{red:02x}{green:02x}{blue:02x}", "#fff" if luminance < 0.19 else "#14161a"


def scale(low: str, high: str, note: str = "") -> Markup:
    """What the colours mean: a strip from ``low`` to ``high``."""
    stops = ", ".join(viridis(i / 8)[0] for i in range(9))
    strip = f'<i class="strip" style="background:linear-gradient(to right, {stops})"></i>'
    end = f" <span>{escape(note)}</span>" if note else ""
    return Markup(f'<p class="legend scale"><span>{escape(low)}{strip}{escape(high)}</span>{end}</p>')
