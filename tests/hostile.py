"""What strangers may write into an export, to harm who looks at it.

Whatever of it runs calls ``dvsyncCanary`` or makes an element ``hostile-x``; a browser
test notices both. Names are without ``/`` and control characters: those of tables are
names of folders, and model.json refuses control characters.
"""

from __future__ import annotations

CANARY = "dvsyncCanary"
ELEMENT = "hostile-x"

SCRIPT = f"<script>{CANARY}()</script>"
NAMES = (
    f"<{ELEMENT} onclick={CANARY}()>",
    f"<img src=x onerror={CANARY}()>",
    f'"><svg onload={CANARY}()><{ELEMENT}>',
    f"' autofocus onfocus='{CANARY}()",
    "{{ 7|add:35 }}{% debug %}${7*6}",
    "'; DROP TABLE sync_syncconfig; --",
    "%s %(name)s %n {0.__class__} \\",
    "\N{RIGHT-TO-LEFT OVERRIDE}vsc.exe \N{RIGHT-TO-LEFT ISOLATE}x",
    "\N{ARABIC LETTER ALEF}\N{ARABIC LETTER BEH} 7 \N{HEBREW LETTER ALEF}",
    "null",
    "\N{PILE OF POO}\N{ZERO WIDTH JOINER}e" + "\N{COMBINING ACUTE ACCENT}" * 20,
    "W" * 150,
    "&lt;b&gt;&amp;amp;&#x3c;",
    "=cmd|' !A0",
    f"javascript:{CANARY}()",
    "-->" + f"<{ELEMENT}>" + "<!--",
)
VALUES = (
    *NAMES,
    SCRIPT,
    f"</title></textarea></script><{ELEMENT}>{SCRIPT}",
    f'" hx-get="/metrics" hx-trigger="load" data-{ELEMENT}="',
    "\x1b]0;title\x07\x1b[31mred",
    "one\r\nSet-Cookie: hostile=1\r\n\r\n<p>two",
    "\N{BYTE ORDER MARK}\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}\N{NO-BREAK SPACE}",
    "../../../../etc/passwd",
    "A" * 5_000,
)
# Codes instead of these are what a page shows of a stranger's text.
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROLS = "".join(map(chr, [*range(9), 11, 12, *range(14, 32), 127]))
