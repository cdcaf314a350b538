-- The style of a report's page: one column on a telephone, two from 1100 pixels; light and dark. Text has at least
-- the contrast of WCAG AA (4.5 to 1), curves and borders of controls 3 to 1. --c0 to --c8: the colours of curves.
return [[
:root { color-scheme: light dark; --bg: #fff; --fg: #1d2127; --soft: #565e68; --line: #d4d8dd; --edge: #7c848e;
--card: #f6f7f9; --link: #1f5fa8; --good: #1a7440; --bad: #b3261e; --wait: #8a5200; --grid: #e6e8eb;
--c0: #1f5fa8; --c1: #c75d0a; --c2: #1a1a1a; --c3: #8c1d40; --c4: #00815f; --c5: #5c4e00; --c6: #b94a8c;
--c7: #5b3a1e;
--c8: #6e6e6e }
:root[data-theme=dark] { color-scheme: dark; --bg: #16181c; --fg: #e8eaed; --soft: #b3bac3; --line: #3a4049;
--edge: #838c98; --card: #1e2127; --link: #8ec1ff; --good: #6fd391; --bad: #ff8f86; --wait: #f5bd6b; --grid: #2a2f37;
--c0: #4f93e0; --c1: #f5b36b; --c2: #f2f2f2; --c3: #ff8fb0; --c4: #2fa882; --c5: #e0d36c; --c6: #e79bd0;
--c7: #a87b50;
--c8: #a5a5a5 }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { --bg: #16181c; --fg: #e8eaed; --soft: #b3bac3;
--line: #3a4049; --edge: #838c98; --card: #1e2127; --link: #8ec1ff; --good: #6fd391; --bad: #ff8f86; --wait: #f5bd6b;
--grid: #2a2f37; --c0: #4f93e0; --c1: #f5b36b; --c2: #f2f2f2; --c3: #ff8fb0; --c4: #2fa882; --c5: #e0d36c;
--c6: #e79bd0;
--c7: #a87b50; --c8: #a5a5a5 } }
* { box-sizing: border-box } [hidden] { display: none !important }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--fg); background: var(--bg);
max-width: 1500px; margin: 0 auto; padding: 1em clamp(.7em, 2vw, 2em) 3em }
h1 { font-size: 1.45em; line-height: 1.25; overflow-wrap: anywhere; margin: .3em 0 }
h2 { font-size: 1.15em; margin: 1.8em 0 .5em } h3 { font-size: 1em; margin: .8em 0 .3em }
a { color: var(--link) } .note { color: var(--soft); margin: .3em 0 } header { display: flex; flex-wrap: wrap;
gap: .3em 1em; align-items: start; justify-content: space-between }
nav { display: flex; flex-wrap: wrap; gap: .2em 1.1em; margin: .4em 0 }
button, input { font: inherit; color: inherit } button { background: var(--card); border: 1px solid var(--edge);
border-radius: 4px; padding: .15em .6em; cursor: pointer; min-height: 28px } button:hover { border-color: var(--fg) }
button[aria-pressed=true] { background: var(--fg); color: var(--bg); border-color: var(--fg) }
input { background: var(--bg); border: 1px solid var(--edge); border-radius: 4px; padding: .2em .5em;
min-height: 30px;
width: min(100%, 22em) }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
.wide { overflow-x: auto; max-width: 100% } table { border-collapse: collapse }
th, td { padding: .22em .7em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 600 } thead th { background: var(--card); white-space: nowrap }
thead th button { all: unset; cursor: pointer; font-weight: 600 } thead th button:focus-visible {
outline: 2px solid var(--link); outline-offset: 2px } th[aria-sort=ascending] button::after { content: " \2191" }
th[aria-sort=descending] button::after { content: " \2193" }
td, tbody th { overflow-wrap: break-word; max-width: 44em }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.state { font-weight: 600; white-space: nowrap } .finished { color: var(--good) }
.failed, .diverged { color: var(--bad) }
.running, .stopped, .paused { color: var(--wait) }
progress { width: 9em; vertical-align: middle; accent-color: var(--link) }
.two { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 2em }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 1em }
@media (max-width: 600px) { th, td { padding: .22em .4em } }
@media (min-width: 1100px) { .two { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .5em .7em; min-width: 0 }
figcaption { display: flex; flex-wrap: wrap; gap: .2em .6em; align-items: center; justify-content: space-between }
figcaption strong { overflow-wrap: anywhere } .tools { display: flex; gap: .3em } .tools button { font-size: .85em }
.plot { position: relative; touch-action: pan-y; border-radius: 4px; cursor: crosshair }
.plot svg { display: block; width: 100%; height: auto; overflow: hidden } .plot text { fill: var(--fg);
font-size: 12px }
.plot .soft { fill: var(--soft) } .plot .grid { stroke: var(--grid) } .plot .axis { stroke: var(--edge); fill: none }
.tip { position: absolute; z-index: 2; pointer-events: none; background: var(--card); border: 1px solid var(--edge);
border-radius: 4px; padding: .25em .5em; font-size: 12.5px; line-height: 1.35; max-width: 92%; white-space: nowrap;
overflow: hidden } .tip b { font-weight: 600 } .tip i { display: inline-block; width: .8em; height: .8em;
margin-right: .4em; border-radius: 2px }
.legend { display: flex; flex-wrap: wrap; gap: .35em; margin: .5em 0; padding: 0; list-style: none }
.legend button { display: flex; align-items: center; gap: .4em; text-align: left } .legend svg { flex: none }
.legend button[aria-pressed=true] { background: var(--card); color: var(--fg); border-color: var(--edge) }
.legend button[aria-pressed=false] { color: var(--soft); text-decoration: line-through; background: var(--bg) }
.bar { position: sticky; top: 0; z-index: 3; background: var(--bg); padding: .2em 0; max-height: 40vh;
overflow-y: auto }
details { margin: .4em 0 } summary { cursor: pointer } figure details { font-size: .9em }
figure details .wide { max-height: 16em; overflow: auto }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 4px; padding: .6em; overflow-x: auto;
font: 13px/1.4 ui-monospace, "DejaVu Sans Mono", monospace; tab-size: 4; margin: .3em 0 }
pre .add { color: var(--good) } pre .del { color: var(--bad) } .hatch { background: repeating-linear-gradient(45deg,
#c4c4c4, #c4c4c4 4px, #8a8a8a 4px, #8a8a8a 5px); color: #101010 }
.scale { display: inline-block; width: 9em; height: .8em; vertical-align: middle; border: 1px solid var(--edge);
margin: 0 .4em } .maps { display: flex; flex-wrap: wrap; gap: .5em 2em } .maps td { min-width: 4em }
.maps > div { min-width: 0; max-width: 100% }
.filter label { display: flex; gap: .5em; align-items: center } .filter { display: flex; flex-wrap: wrap;
gap: .3em .8em; align-items: center; margin: .3em 0 }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
@media print { button, input, .filter { display: none } .bar { position: static } }
]]
