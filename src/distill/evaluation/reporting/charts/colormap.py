"""The viridis colormap: readable in grey and for the colour-blind."""

from markupsafe import Markup, escape

_STOPS = ((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140), (40, 174, 128), (94, 201, 98),
          (173, 220, 48), (253, 231, 37))  # fmt: skip


def viridis(share: float) -> tuple[str, str]:
    """A background color, and the text color (black or white) with the better contrast on it.

    Args:
        share: from 0 (dark blue) to 1 (yellow); clamped.

    Example:
        >>> viridis(0), viridis(1)
        (('#440154', '#fff'), ('#fde725', '#14161a'))
    """
    position = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    i = min(int(position), len(_STOPS) - 2)
    rgb = [round(a + (b - a) * (position - i)) for a, b in zip(_STOPS[i], _STOPS[i + 1], strict=True)]
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return f"#{bytes(rgb).hex()}", "#fff" if luminance < 0.19 else "#14161a"


def color_bar(low: str, high: str, note: str = "") -> Markup:
    """The legend of the colormap: a strip from ``low`` to ``high``."""
    stops = ", ".join(viridis(i / 8)[0] for i in range(9))
    strip = f'<i class="strip" style="background:linear-gradient(to right, {stops})"></i>'
    note_span = f" <span>{escape(note)}</span>" if note else ""
    return Markup(f'<p class="legend scale"><span>{escape(low)}{strip}{escape(high)}</span>{note_span}</p>')
