"""The look of the page: light and dark, on a phone, on paper."""

# Apart from one another for the colour-blind too, after Okabe and Ito's palette (2008), each a little
# darker on white and lighter on black than theirs.
LIGHT = ("#0072b2", "#d55e00", "#00855f", "#b0528a", "#2f96d0", "#9a6b00", "#6a3d9a", "#666666")
DARK = ("#58a6ee", "#f5893d", "#35c79b", "#e59ac8", "#a5dcff", "#e0b84f", "#bb9cf0", "#b0b0b0")


def _series(colours: tuple[str, ...]) -> str:
    return " ".join(f"--c{at}: {colour};" for at, colour in enumerate(colours))


CSS = f"""
:root {{
  color-scheme: light dark;
  --paper: #f6f7f9; --card: #fff; --ink: #1c2128; --soft: #59636e; --line: #d8dde3; --tint: #0072b2;
  --bad: #b3261e; --bad-paper: #fdecea; --warn: #8a5a00; --warn-paper: #fff6e0; --good: #1a7f4b;
  {_series(LIGHT)}
}}
@media screen and (prefers-color-scheme: dark) {{ :root {{
  --paper: #0e1116; --card: #171b22; --ink: #e6e9ee; --soft: #9aa4b0; --line: #333b46; --tint: #58a6ee;
  --bad: #ff9d94; --bad-paper: #3a1512; --warn: #f2c464; --warn-paper: #33270b; --good: #5fd197;
  {_series(DARK)}
}} }}
"""
CSS += """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 32px; }
header > p { max-width: none; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; margin: 0 0 4px; line-height: 1.3; }
h3 { font-size: 1.02rem; margin: 24px 0 8px; }
p { margin: 6px 0 12px; max-width: 75ch; }
a { color: var(--tint); }
code { font: 0.88em ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; }
.soft, figcaption, caption, .tile span { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px;
  margin: 20px 0; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 16px 0 0; font-size: 0.92rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.words b { font-size: 1.1rem; line-height: 1.6; }
.tile span { font-size: 0.86rem; display: block; }
.alarm, .warning { border-radius: 10px; padding: 12px 16px; margin: 16px 0; max-width: none; }
.alarm { background: var(--bad-paper); color: var(--bad); border: 2px solid var(--bad); font-weight: 600; }
.warning { background: var(--warn-paper); color: var(--warn); border: 1px solid var(--warn); }
.scroll { overflow-x: auto; margin: 8px 0 12px; }
.scroll:focus-visible { outline: 2px solid var(--tint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.93rem; overflow-wrap: normal; }
table.wide { width: 100%; }
caption { text-align: left; font-size: 0.86rem; padding-bottom: 6px; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
th:first-child { text-align: left; padding-left: 0; max-width: 22rem; white-space: normal; min-width: 5rem; }
table.wide th:first-child { overflow-wrap: anywhere; min-width: 6rem; }
thead th { color: var(--soft); font-weight: 500; font-size: 0.86rem; vertical-align: bottom; }
.range { display: block; color: var(--soft); font-weight: 400; font-size: 0.86em; }
table.facts thead th { text-align: left; }
td.words { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
table.matrix td { text-align: center; min-width: 3.4rem; padding: 9px 10px; border: 1px solid var(--line); }
table.matrix thead th { text-align: center; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 20px 28px;
  align-items: start; }
.figures + h3 { margin-top: 32px; }
figure { margin: 8px 0; break-inside: avoid; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 480px; height: auto; }
figure.big svg { max-width: 860px; }
figure svg text { font-family: inherit !important; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figcaption { font-size: 0.86rem; max-width: 75ch; margin-top: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; margin: 4px 0 8px; padding: 0;
  font-size: 0.9rem; }
.stroke { display: inline-block; width: 1.9em; height: 0; border-top: 3px solid; margin: 0 0.5em 0.25em 0; }
.mark { margin-right: 0.45em; }
.whisker { display: block; width: 150px; height: 18px; }
.scale { display: flex; justify-content: space-between; width: 150px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 14px 12px;
  list-style: none; margin: 8px 0; padding: 0; }
.gallery.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); }
.photo { font-size: 0.8rem; line-height: 1.35; break-inside: avoid; min-width: 0; }
.photo img, .photo .gone { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain;
  border-radius: 8px; background: var(--paper); border: 1px solid var(--line); margin-bottom: 4px; }
.photo .gone { display: flex; align-items: center; justify-content: center; text-align: center; padding: 8px;
  color: var(--soft); }
.photo b { display: block; }
.photo .id { color: var(--soft); display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
  overflow: hidden; }
.pair { border: 1px solid var(--line); border-radius: 10px; padding: 10px; }
.pair > div { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; }
.pair > p { margin: 0 0 8px; font-size: 0.86rem; }
.wrong { color: var(--bad); } .right { color: var(--good); }
details { border-top: 1px solid var(--line); padding: 10px 0; }
summary { cursor: pointer; font-weight: 600; }
footer { color: var(--soft); font-size: 0.86rem; padding-bottom: 40px; }
@media (max-width: 600px) {
  main, header, footer { padding-left: 12px; padding-right: 12px; }
  section { padding: 16px 14px; }
  h1 { font-size: 1.6rem; }
  th, td { padding: 6px 8px; }
  th[scope="row"] { position: sticky; left: 0; background: var(--card); }
  .whisker, .scale { width: 96px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .gallery { grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); }
}
@media print {
  :root { color-scheme: light; }
  html { font-size: 62%; }
  body { background: none; font-size: 1rem; }
  nav { display: none; }
  section { border: 0; padding: 0; }
  h2, h3, summary { break-after: avoid; }
  tr, table, .pair { break-inside: avoid; }
  .scroll { overflow: visible; }
  th, td { padding: 3px 6px; }
  .whisker, .scale { width: 110px; }
  .gallery { grid-template-columns: repeat(auto-fill, minmax(80px, 1fr)); }
  .gallery.pairs { grid-template-columns: repeat(3, 1fr); }
  .figures { grid-template-columns: repeat(3, 1fr); }
  details::details-content { content-visibility: visible; block-size: auto; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
