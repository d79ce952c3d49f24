"""What an evaluation's page has beside the rules of all pages."""

STYLE = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem; margin: .8rem 0; }
.tile { background: var(--panel); border: 1px solid var(--rule); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1.2rem; margin: .8rem 0; }
svg .area { fill: var(--panel); stroke: var(--rule); }
svg .guide { stroke: var(--faint); stroke-dasharray: 4 4; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
svg .curve-dot { fill: var(--accent); }
svg .whisker { stroke: var(--accent); stroke-width: 1.5; }
svg .here { fill: var(--mark); stroke: var(--ground); stroke-width: 2; }
svg .bar { fill: var(--bar); }
.wide { overflow-x: auto; }
table.matrix { width: auto; overflow-wrap: normal; }
table.matrix th, table.matrix td { padding: .4rem 1.1rem; text-align: right; border: 1px solid var(--rule); }
table.matrix tbody th { text-align: left; }
table.matrix td.right { background: var(--panel); font-weight: 600; }
@media (max-width: 46rem) {
  table.matrix th, table.matrix td { padding: .35rem .4rem; font-size: .8rem; }
  table.matrix tbody th { overflow-wrap: anywhere; }
}
"""
