"""How the page looks, in light and in dark, on paper and on a phone."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f5f6f8; --ink: #1d2026; --soft: #5a6270; --rule: #d9dde3;
  --a: #0b5cad; --b: #b04300; --c: #00704e; --shared: #828a97; --bar: #cfe0f4;
  --right: 11 92 173; --wrong: 160 60 0; --cell: #000000; --full: #ffffff;
  --note: #fff4d6; --note-rule: #d69a00; --beware: #9a3b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --raised: #1e2127; --ink: #e8eaee; --soft: #a3abb8; --rule: #363b44;
    --a: #74b4f5; --b: #f5a265; --c: #58cfa3; --shared: #717a88; --bar: #24405f;
    --right: 86 143 203; --wrong: 203 118 58; --cell: #ffffff; --full: #000000;
    --note: #352a0c; --note-rule: #c99a2a; --beware: #f5a265;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 3vw, 2rem) 4rem; max-width: 80rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3rem 0 1rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 2rem 0 .75rem; }
h4 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h4 span { font-weight: 400; color: var(--soft); margin-left: .5rem; }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--a); }
:focus-visible { outline: 3px solid var(--a); outline-offset: 2px; }
.lead, figcaption, caption { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; margin: 1rem 0 0; }
nav a { display: inline-block; padding: .2rem 0; }
.notes { background: var(--note); border-left: 4px solid var(--note-rule); padding: .75rem 1rem; margin: 1.5rem 0 0; }
.notes h2 { margin: 0; padding: 0; border: 0; font-size: 1.05rem; }
.notes ul { margin: .5rem 0 0; padding-left: 1.2rem; }
.notes li, p, li { overflow-wrap: anywhere; }
.scrolled .class {
  display: inline-block; max-width: 14rem; overflow: hidden; white-space: nowrap; text-overflow: ellipsis;
  vertical-align: bottom; padding-left: 1px;
}
.beware { color: var(--beware); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0 0 1rem; }
.tiles div { background: var(--raised); border-radius: .5rem; padding: .8rem 1rem; }
.tiles div.main { box-shadow: inset 4px 0 var(--a); }
.tiles dt { color: var(--soft); font-size: .9rem; }
.tiles dd { margin: 0; font-size: .85rem; color: var(--soft); }
.tiles dd.value { font-size: 1.8rem; line-height: 1.25; font-weight: 600; color: var(--ink); white-space: nowrap; }

figure { margin: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1.5rem 1rem; }
.smalls { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: 1.1rem 1rem; }
.chart figcaption { color: var(--ink); font-weight: 600; margin-bottom: .25rem; }
.small figcaption { display: flex; gap: .5rem; color: var(--ink); font-size: .875rem; }
.small .class { flex: 1; min-width: 0; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.small figcaption b { white-space: nowrap; }
svg { display: block; width: 100%; height: auto; max-width: 30rem; overflow: visible; }
svg.hidden { position: absolute; width: 0; height: 0; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.name { fill: var(--ink); font-weight: 600; }
.grid, .axis { stroke: var(--rule); fill: none; }
.mark { stroke: var(--soft); stroke-dasharray: 3 3; fill: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.shared { fill: none; stroke: var(--shared); stroke-width: 1.5; stroke-dasharray: 1 3; stroke-linecap: round; }
.line.a { stroke: var(--a); } .line.b { stroke: var(--b); } .line.c { stroke: var(--c); }
.dot.a, svg text.a { fill: var(--a); } .dot.b, svg text.b { fill: var(--b); } .dot.c, svg text.c { fill: var(--c); }
.dot.best { stroke: var(--paper); stroke-width: 1.5; }

.swatch {
  display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; vertical-align: -.05em;
  box-shadow: 0 0 0 1px var(--shared); flex: none;
}
.ramp { display: inline-block; width: 5rem; height: .8em; border-radius: 2px; vertical-align: -.05em; }
.legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; margin: 0; font-size: .9rem;
}

.scrolled { overflow-x: auto; margin: 1rem 0; padding-bottom: .25rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { font-weight: 500; }
thead th { color: var(--soft); font-weight: 400; vertical-align: bottom; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.bar {
  min-width: 8rem; white-space: nowrap;
  background: linear-gradient(90deg, var(--bar) var(--w), transparent 0) no-repeat 0 50% / calc(100% - .6rem) 70%;
}
td.value, pre {
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .85rem;
}
td.value { overflow-wrap: anywhere; }
td.value.changed { font-weight: 700; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem 2rem; }
.pair table { width: 100%; }
.pair tbody th, .scrolled th, .scrolled td { white-space: nowrap; }
.beside { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.beside > div { max-width: 100%; }
.beside > div + div { flex: 1 1 22rem; }
.beside > div + div h3 { margin-top: 1rem; }
.confusion th, .confusion td { border: 0; padding: .2rem .15rem; }
.confusion td { min-width: 1.85rem; text-align: center; outline: 1px solid var(--paper); outline-offset: -1px; }
.confusion thead th + th { text-align: center; }
.confusion thead span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem; overflow: hidden; }
.confusion thead .swatch { display: block; margin: .4em auto 0; }
.confusion th[scope=row], .confusion thead th:first-child {
  position: sticky; left: 0; background: var(--paper); white-space: nowrap; max-width: 9.5rem; overflow: hidden;
  text-overflow: ellipsis;
}
td.right { background: rgb(var(--right) / var(--p)); }
td.wrong { background: rgb(var(--wrong) / var(--p)); }
td.right, td.wrong { color: var(--cell); }
td.full { color: var(--full); }
.scale { color: var(--soft); font-size: .85rem; display: inline-block; margin: 0 1.5rem 0 0; }
.scale span { display: inline-block; width: 6rem; height: .8em; vertical-align: -.05em; }
.scale .right { background: linear-gradient(90deg, rgb(var(--right) / 0), rgb(var(--right))); }
.scale .wrong { background: linear-gradient(90deg, rgb(var(--wrong) / 0), rgb(var(--wrong))); }
.mix-ups { padding-left: 1.9rem; }
.mix-ups li { padding: .1rem 0; }

.example { margin: 0 0 1.75rem; }
.panels { display: grid; grid-template-columns: repeat(var(--many), minmax(0, 1fr)); gap: .5rem; }
.panels img { display: block; width: 100%; height: auto; background: var(--raised); }
.panels img { max-height: 40rem; object-fit: contain; }
.panels img.small { image-rendering: pixelated; }
.panels figcaption { font-size: .85rem; padding-top: .2rem; overflow-wrap: anywhere; }
pre { background: var(--raised); border-radius: .5rem; padding: .8rem 1rem; margin: .75rem 0; overflow-x: auto; }
summary { cursor: pointer; padding: .4rem 0; }
@media (max-width: 44rem) {
  .panels { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .panels figure:first-child:nth-last-child(5), .panels figure:last-child:nth-child(3) { grid-column: 1 / -1; }
  h2 { margin-top: 2.25rem; }
  h4 span { display: block; margin: 0; }
  th, td { padding: .3rem .45rem; }
  td.bar { min-width: 5.5rem; }
  .smalls { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
}
@media print {
  body { max-width: none; padding: 0; }
  nav { display: none; }
  td, .swatch, .ramp, .scale span, .notes { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, article, tr { break-inside: avoid; }
}
"""
"""The page's style sheet. Letters keep a contrast of 4.5 to 1 in both schemes, lines one of 3 to 1."""
