"""The page's style sheet."""

STYLE = """
:root{color-scheme:light dark;--bg:#f4f6f9;--card:#fff;--ink:#18202e;--soft:#5a6678;--rule:#e2e7ee;--good:#15803d;
--goodbg:#e4f5ea;--bad:#be2b22;--badbg:#fce9e7;--warn:#a15c00;--warnbg:#fdf1dc;--line:#2f5bd7;--stored:#3f9d6d;
--declared:#e0a030;--undeclared:#d43a2f;--empty:#e8ecf2}
@media (prefers-color-scheme:dark){:root{--bg:#10141b;--card:#191f29;--ink:#e6ebf3;--soft:#9aa7ba;--rule:#2b3442;
--good:#5fd38d;--goodbg:#12301f;--bad:#ff8579;--badbg:#3b1a18;--warn:#f0b95b;--warnbg:#37280d;--line:#82a4ff;
--stored:#3c9a6b;--declared:#d99a2b;--undeclared:#f0574b;--empty:#262e3a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",
"DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 20px 56px}
h1{font-size:26px;line-height:1.25;margin:2px 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
h3{font-size:14px;margin:22px 0 6px}
p{margin:0}
.over-title{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.verdict{border-radius:14px;padding:20px 24px;margin:0 0 16px;border-left:7px solid}
.verdict.met{background:var(--goodbg);border-color:var(--good)}.verdict.missed{background:var(--badbg);border-color:var(--bad)}
.verdict.met h1{color:var(--good)}.verdict.missed h1{color:var(--bad)}
.card,section.box{background:var(--card);border:1px solid var(--rule);border-radius:12px}
.goals{list-style:none;margin:0;padding:6px 18px;background:var(--card);border:1px solid var(--rule);border-radius:12px}
.goals li{display:flex;gap:12px;padding:9px 0;border-top:1px solid var(--rule);overflow-wrap:anywhere}
.goals li:first-child{border:0}
.goals .names{color:var(--soft);font-size:13px}
.mark{flex:none;align-self:flex-start;font-size:12px;font-weight:650;border-radius:99px;padding:2px 10px;min-width:84px;
text-align:center}
.mark.met{background:var(--goodbg);color:var(--good)}.mark.missed{background:var(--badbg);color:var(--bad)}
.mark.unknown{background:var(--warnbg);color:var(--warn)}
.cards{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:12px;margin:16px 0 0}
.card{padding:13px 16px}
.card b{display:block;font-size:23px;font-weight:650;letter-spacing:-.01em;font-variant-numeric:tabular-nums;line-height:1.3}
.card span{color:var(--soft);font-size:13px}
.card .what{display:block}
.card.bad b{color:var(--bad)}
.box{padding:4px 18px 14px;margin:0 0 14px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:550;font-size:12.5px;text-align:left;vertical-align:bottom}
th,td{padding:7px 14px 7px 0;border-bottom:1px solid var(--rule)}
tr:last-child>td,tr:last-child>th{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}
tbody th{color:var(--ink);font-size:14px;overflow-wrap:anywhere;min-width:178px}
caption{text-align:left;color:var(--soft);font-size:13px;padding:10px 0 2px}
td.band{min-width:200px;width:34%}
td.bad,.cross{color:var(--bad);font-weight:650}
a{color:var(--line);text-decoration:none}a:hover{text-decoration:underline}
svg{display:block;width:100%}
.strip{height:18px;border-radius:4px;background:var(--empty)}
details .strip{height:26px}
.strip path{stroke-width:20;fill:none}
.strip .stored{stroke:var(--stored)}.strip .declared{stroke:var(--declared)}.strip .undeclared{stroke:var(--undeclared)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;color:var(--soft);font-size:13px;padding:8px 0 0}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:12px;font-weight:400;padding-top:3px}
details{background:var(--card);border:1px solid var(--rule);border-radius:12px;margin:0 0 12px}
summary{cursor:pointer;padding:13px 18px;font-weight:600;overflow-wrap:anywhere}
summary small{color:var(--soft);font-weight:400;font-size:13px;margin-left:8px}
summary .mark{display:inline-block;min-width:0;margin-left:8px}
.inside{padding:0 18px 18px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:8px 30px}
figure{margin:14px 0 0;min-width:0}
figcaption{font-size:13px;color:var(--soft);margin:0 0 10px}
.plot{display:grid;grid-template-columns:54px minmax(0,1fr);grid-template-rows:150px auto}
.y{position:relative;font-size:11.5px;color:var(--soft)}
.y span{position:absolute;right:8px;transform:translateY(-50%);white-space:nowrap}
.x{grid-column:2;display:flex;justify-content:space-between;font-size:11.5px;color:var(--soft);padding-top:5px}
.curve{height:150px;overflow:visible}
.curve path{vector-effect:non-scaling-stroke;fill:none}
.rule{stroke:var(--rule);stroke-width:1}
.line{stroke:var(--line);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.curve .area{fill:var(--line);opacity:.11}
.goal{stroke:var(--bad);stroke-width:1.3;stroke-dasharray:5 4}
.bar{fill:var(--line)}.bar.over{fill:var(--undeclared)}
.none{color:var(--soft);font-size:13px;padding:10px 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,250px),1fr));gap:0 30px;margin:12px 0 0}
.facts div{display:flex;justify-content:space-between;gap:14px;padding:5px 0;border-bottom:1px solid var(--rule);font-size:14px}
.facts dt{color:var(--soft)}.facts dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
ul.remarks{margin:0;padding:10px 18px 10px 36px;background:var(--card);border:1px solid var(--rule);border-radius:12px;
font-size:14px;overflow-wrap:anywhere}
footer{color:var(--soft);font-size:13px;margin-top:32px}
@media (max-width:760px){.cards{grid-template-columns:1fr 1fr}}
@media (max-width:560px){main{padding:16px 12px 40px}h1{font-size:21px}.verdict{padding:15px 16px}
.goals li{flex-direction:column;gap:4px}.goals,.box,.inside{padding-left:12px;padding-right:12px}.card b{font-size:20px}}
@media print{details{break-inside:avoid}body{background:#fff}}
"""
