"""What all pages look like: light and dark by the reader's own setting, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --panel: #f5f6f8; --text: #1a1d21; --faint: #596069; --rule: #d5d9df;
  --accent: #0b5cad; --mark: #b3261e; --warn: #fff4d6; --warn-edge: #b98900; --bar: #8fb0d6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --panel: #1d2125; --text: #e7eaee; --faint: #a3abb5;
  --rule: #3a4048; --accent: #6cb2ff; --mark: #ff8a80; --warn: #332b12; --warn-edge: #d9a92a; --bar: #3f5f8a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--rule); padding-bottom: .25rem; }
p { margin: .4rem 0; max-width: 60rem; }
.faint, figcaption { color: var(--faint); font-size: .9rem; }
.notice { border-left: 4px solid var(--mark); background: var(--panel); padding: .5rem .8rem; font-weight: 600; }
.warnings { border-left: 4px solid var(--warn-edge); background: var(--warn); padding: .5rem .8rem .5rem 2rem;
  margin: .8rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .8rem 0; }
dt { color: var(--faint); }
dd { margin: 0; min-width: 0; }
figure { margin: 0; }
figure h3 { font-size: 1rem; margin: 0 0 .3rem; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font: 13px system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
svg .tick { fill: var(--faint); font-size: 12px; }
svg .grid { stroke: var(--rule); stroke-width: .6; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
thead th { color: var(--faint); font-weight: 600; font-size: .9rem; }
td .faint { display: block; white-space: nowrap; }
table.rows td:not(:first-child) { overflow-wrap: break-word; }
@media (max-width: 46rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  table.rows, table.rows tbody, table.rows tr, table.rows td { display: block; width: 100%; }
  table.rows thead { display: none; }
  table.rows tr { border-bottom: 1px solid var(--rule); padding: .5rem 0; }
  table.rows td { border: 0; padding: .1rem 0; display: grid; grid-template-columns: 8.5rem 1fr; gap: .6rem; }
  table.rows td::before { content: attr(data-label); color: var(--faint); }
  table.rows td > span { min-width: 0; overflow-wrap: anywhere; }
  table.rows td.none { display: none; }
}
@media print { body { max-width: none; } h2, figure, tr { break-inside: avoid; } }
"""
