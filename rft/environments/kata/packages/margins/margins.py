"""Plain text set between margins."""


def wrap(text, width=20):
    rows = [""]
    for word in text.split():
        if len(rows[-1]) + len(word) + 1 > width:
            rows.append("")
        rows[-1] = (rows[-1] + " " + word).strip()
    return [row for row in rows if row]


def shorten(text, limit, mark=".."):
    if len(text) <= limit:
        return text
    keep = limit - len(mark)
    return text[:keep].rstrip() + mark


def centre(text, width, fill=" "):
    room = width - len(text)
    if room <= 0:
        return text
    left = room // 2
    return fill * left + text + fill * (room - left)


def dedent(rows):
    depths = []
    for row in rows:
        if row.strip():
            depths.append(len(row) - len(row.lstrip()))
    cut = min(depths, default=0)
    return [row[cut:] for row in rows]
