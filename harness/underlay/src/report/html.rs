//! The report as a page for a browser.
//!
//! Tables first; each cell leads to its evidence, which is in the page but shown only when asked for, or when something
//! is wrong there. That works by links and style alone (`:target`), so there is no script, and the page's own policy
//! forbids any. All that comes from scenario files or from the wire is escaped by the templates.

use indexmap::IndexMap;
use maud::{Markup, html};

use super::human;
use super::page::page;
use super::paint::Paint;
use super::picture::svg::{self, Gallery};
use super::schema::steps::{Step, Stream};
use super::schema::walk::{Change, Hop, Walk};
use super::schema::{Case, Check, Claim, Node, Probe, Report};
use super::table::{self, Look, RUNNING, about, about_in, conditions, groups, shown, shown_whole, subjects};
use super::timeline;
use crate::verdict::Verdict;

/// The whole page.
pub fn render(report: &Report) -> String {
    let mut gallery = Gallery::default();
    let groups = groups(&report.cases);
    let number = |case: &Case| report.cases.iter().position(|other| std::ptr::eq(other, case)).unwrap_or(0);
    let sections: Vec<_> = groups
        .iter()
        .enumerate()
        .map(|(index, group)| {
            let numbered: Vec<_> = group.iter().map(|case| (number(case), *case)).collect();
            section(index, &numbered, &mut gallery)
        })
        .collect();
    let body = html! {
        a class="skip" href="#tables" { "Skip to the tables" }
        header { (head(report, &groups)) }
        main id="tables" {
            @if let Some(merge) = &report.merge {
                section class="joined" {
                    h2 { "Joined reports" }
                    pre { (merge.text(Paint(false))) }
                }
            }
            @for section in &sections { (section) }
            @if report.cases.is_empty() { p { "No case has finished." } }
        }
        footer { (foot(report)) }
        (gallery.common())
    };
    page(&format!("underlay: {}", headline(report)), svg::STYLE, &body)
}

/// `4 cases: 2 pass, 1 fail`
fn headline(report: &Report) -> String {
    let counts = counts(report).into_iter().map(|(count, word, _)| format!("{count} {word}"));
    format!("{}: {}", count(report.summary.cases() as u64, "case"), counts.collect::<Vec<_>>().join(", "))
}

/// How many, of what, and the class it is drawn with.
fn counts(report: &Report) -> Vec<(usize, &'static str, &'static str)> {
    let summary = &report.summary;
    let all = [
        (summary.pass, Verdict::Pass),
        (summary.fail, Verdict::Fail),
        (summary.error, Verdict::Error),
        (summary.inconclusive, Verdict::Inconclusive),
        (summary.skip, Verdict::Skip),
    ];
    let told = all.into_iter().filter(|(count, verdict)| *count > 0 || *verdict == Verdict::Pass);
    told.map(|(count, verdict)| (count, verdict.name(), class(verdict))).collect()
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        // `skip` is the class of links that lead past the head.
        Verdict::Skip => "skipped",
        other => other.name(),
    }
}

fn badge(verdict: Verdict) -> Markup {
    html! { span class=(format!("b {}", class(verdict))) { (verdict.name()) } }
}

fn head(report: &Report, groups: &[Vec<&Case>]) -> Markup {
    let summary = &report.summary;
    let worst = |group: &[&Case]| group.iter().map(|case| case.verdict).max().unwrap_or(Verdict::Pass);
    html! {
        h1 { "underlay report" }
        ul class="sum" aria-label="Summary" {
            @for (count, word, class) in counts(report) {
                li { span class=(format!("b {class}")) { (count) " " (word) } }
            }
            @if summary.claims_held > 0 {
                li { span class="b" { (count(summary.claims_held as u64, "claim")) " held" } }
            }
            @if summary.claims_refuted > 0 {
                li { span class="b refuted" { (count(summary.claims_refuted as u64, "claim")) " refuted" } }
            }
        }
        @if let Some(signal) = &report.interrupted {
            p class="bad" role="alert" { "Interrupted by " (signal) ": cases are missing." }
        }
        p class="dim" {
            (report.host.place()) ", " (report.host.cpus) " processors"
            " · underlay " (report.host.underlay) " · " (seconds(report.duration_ms))
        }
        @let lacking: Vec<_> = report.host.capabilities.iter().filter(|capability| !capability.works).collect();
        @if !lacking.is_empty() {
            details {
                summary class="dim" { "What this host can't do: " (lacking.len()) }
                ul class="plain" {
                    @for one in &lacking {
                        li { (one.name) ": " span class="dim" { (one.reason.as_deref().unwrap_or("")) } }
                    }
                }
            }
        }
        @if groups.len() > 1 {
            nav aria-label="Scenarios" {
                ul {
                    @for (index, group) in groups.iter().enumerate() {
                        li {
                            a href=(format!("#s{index}")) { (group[0].scenario) }
                            " " span class="dim" { (group[0].model) " " (group[0].cilium) }
                            @if worst(group) != Verdict::Pass { " " (badge(worst(group))) }
                        }
                    }
                }
            }
        }
    }
}

/// `1 claim`, `3 claims`
fn count(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.2} s", milliseconds as f64 / 1000.0)
}

fn section(index: usize, group: &[(usize, &Case)], gallery: &mut Gallery) -> Markup {
    let cases: Vec<&Case> = group.iter().map(|(_, case)| *case).collect();
    let first = cases[0];
    let columns = subjects(&cases);
    let title = format!("s{index}");
    html! {
        section aria-labelledby=(title) {
            h2 id=(title) tabindex="-1" { (first.scenario) }
            p class="dim" { (conditions(first)) " · " span class="m" { (first.file) } }
            div class="scroll" role="region" aria-labelledby=(title) tabindex="0" {
                table class="grid" {
                    thead {
                        tr {
                            th scope="col" { "variant" }
                            th scope="col" { "verdict" }
                            @for column in &columns { th scope="col" { (column) } }
                        }
                    }
                    tbody {
                        @for (number, case) in group { (row(*number, case, &columns)) }
                    }
                }
            }
            (claims(&cases))
            @for (number, case) in group { (details(*number, case, &title, gallery)) }
        }
    }
}

fn row(number: usize, case: &Case, columns: &[String]) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("#c{number}")) { (breakable(&case.variant)) } }
            td { (badge(case.verdict)) }
            @for column in columns { (cell(number, case, column)) }
        }
    }
}

/// A name that may be broken where its parts meet.
fn breakable(name: &str) -> Markup {
    html! { @for part in name.split_inclusive([',', '/', ' ']) { (part) wbr; } }
}

fn cell(number: usize, case: &Case, id: &str) -> Markup {
    let cell = table::cell(case, id);
    let (class, word) = match cell.look {
        Look::Plain => ("", None),
        Look::Faint => ("faint", Some("not asserted here")),
        Look::Good => ("good", None),
        Look::Bad => ("bad", Some("not as asserted")),
        Look::Doubtful => ("doubt", Some("no proof either way")),
        Look::Refuted => ("refuted", None),
    };
    let text = match cell.look {
        Look::Bad => format!("!! {}", cell.text),
        Look::Doubtful => format!("?? {}", cell.text),
        Look::Faint if !cell.text.is_empty() => format!("({})", cell.text),
        _ => cell.text,
    };
    // The sign stays with its word.
    let text = text.replace("✓ ", "✓\u{a0}").replace("✗ ", "✗\u{a0}").replace("!! ", "!!\u{a0}");
    let probe = case.probes.iter().position(|probe| probe.id == id);
    let link = match probe {
        Some(probe) => format!("#c{number}-p{probe}"),
        None if case.nodes.is_empty() => format!("#c{number}"),
        None => format!("#c{number}-n"),
    };
    html! {
        td class=(class) title=[word] {
            @if !text.is_empty() || cell.refuted {
                a href=(link) {
                    (text)
                    @if cell.refuted { " " span class="refuted" title="a claim about it is refuted" { "⊘" } }
                }
            }
        }
    }
}

/// What somebody said, refuted first; the same of several variants once.
fn claims(cases: &[&Case]) -> Markup {
    let mut told: IndexMap<(u8, String), (&Claim, Vec<&str>)> = IndexMap::new();
    for case in cases {
        for claim in &case.claims {
            let order = match claim.held {
                Some(false) => 0,
                None => 1,
                Some(true) => 2,
            };
            let key = format!("{} {} {:?} {} {}", claim.by, claim.id, claim.node, claim.said, claim.measured);
            told.entry((order, key)).or_insert_with(|| (claim, Vec::new())).1.push(&case.variant);
        }
    }
    told.sort_by(|(one, _), _, (other, _), _| one.cmp(other));
    let all = || cases.iter().flat_map(|case| &case.claims);
    let refuted = all().filter(|claim| claim.held == Some(false)).count();
    let held = all().filter(|claim| claim.held == Some(true)).count();
    html! {
        @if !told.is_empty() {
            details open[refuted > 0] {
                summary { "Claims: " (refuted) " refuted, " (held) " held" }
                ul class="claims plain" {
                    @for ((order, _), (claim, variants)) in &told {
                        li {
                            @match order {
                                0 => { span class="b refuted" { "refuted" } }
                                1 => { span class="b inconclusive" { "undecided" } }
                                _ => { span class="b good" { "held" } }
                            }
                            " " (claim.by) " said " (about(&claim.id, claim.node.as_deref())) " "
                            strong { (shown_whole(&claim.said)) }
                            "; measured " strong { (shown_whole(&claim.measured)) }
                            " " span class="dim" { "in " (variants.join(", ")) }
                            @if !claim.message.is_empty() { br; span class="dim" { (claim.message) } }
                        }
                    }
                }
            }
        }
    }
}

fn details(number: usize, case: &Case, back: &str, gallery: &mut Gallery) -> Markup {
    let id = format!("c{number}");
    let wrong: Vec<_> = case.unmet().collect();
    let open = !matches!(case.verdict, Verdict::Pass | Verdict::Skip);
    let class = format!("case {}{}", class(case.verdict), if open { " open" } else { "" });
    html! {
        section id=(id) class=(class) tabindex="-1" aria-labelledby=(format!("{id}-h")) {
            a class="top" href=(format!("#{back}")) { "back to the table" }
            h3 id=(format!("{id}-h")) { (case.variant) " " (badge(case.verdict)) }
            @if let Some(reason) = &case.reason { p class=(if open { "bad" } else { "doubt" }) { (reason) } }
            @if case.again { p class="dim" { (human::RAN_TWICE) } }
            @if !wrong.is_empty() {
                ul class="plain" {
                    @for (step, check) in &wrong { li { (unmet(case, *step, check)) } }
                }
            }
            @if timeline::tells(case) { (time_line(&id, case, gallery)) }
            @for (index, probe) in case.probes.iter().enumerate() {
                (evidence(&format!("{id}-p{index}"), case, probe, gallery))
            }
            @if !case.nodes.is_empty() {
                div class="nodes" id=(format!("{id}-n")) tabindex="-1" {
                    h4 { "What each node's agent decided" }
                    div class="cols" {
                        @for (name, node) in &case.nodes { (decisions(name, node)) }
                    }
                }
            }
            (the_rest(case))
        }
    }
}

fn unmet(case: &Case, step: Option<&Step>, check: &Check) -> Markup {
    html! {
        strong { (about_in(step, check)) } ": expected " strong { (shown_whole(&check.expected)) }
        ", measured " strong class=(if check.verdict == Verdict::Fail { "bad" } else { "doubt" }) {
            (shown_whole(&check.measured))
        }
        @if check.verdict == Verdict::Inconclusive { " (inconclusive)" }
        " " span class="dim m" { (case.file) ":" (check.line) }
        @if !check.message.is_empty() { br; span class="dim" { (check.message) } }
    }
}

/// The steps, each with what it changed and what was found; probes of checks below, to be opened from there.
fn time_line(id: &str, case: &Case, gallery: &mut Gallery) -> Markup {
    let end = case.steps.iter().map(|step| step.at_us + step.took_us).max().unwrap_or(0).max(1);
    let share = |us: u64| us as f64 * 100.0 / end as f64;
    let mut probes = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        for (index, probe) in step.probes.iter().enumerate() {
            probes.push((&step.step, evidence(&format!("{id}-s{number}-p{index}"), case, probe, gallery)));
        }
    }
    html! {
        div class="nodes" id=(format!("{id}-t")) tabindex="-1" {
            h4 { "Time line" }
            div class="scroll" role="region" aria-label="time line" tabindex="0" {
                table class="steps" {
                    thead {
                        tr { @for name in ["when", "took", "step", "what changed, what was found"] {
                            th scope="col" { (name) }
                        } }
                    }
                    tbody {
                        @for (number, step) in case.steps.iter().enumerate() {
                            tr class=[step.inner.then_some("inner")] {
                                td class="m" { (timeline::time(step.at_us)) }
                                td class="m" {
                                    (timeline::time(step.took_us))
                                    svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                                        rect x=(format!("{:.2}", share(step.at_us))) y="0" height="4"
                                            width=(format!("{:.2}", share(step.took_us).max(0.7))) {}
                                    }
                                }
                                th scope="row" {
                                    (breakable(&step.step))
                                    @if let Some(verdict) = step.verdict { " " (badge(verdict)) }
                                }
                                td { (told(&format!("{id}-s{number}"), step)) }
                            }
                        }
                    }
                }
            }
        }
        @for (step, probe) in &probes {
            div class="of-step" role="group" aria-label=(format!("at {step}")) { (probe) }
        }
    }
}

/// What a step changed, and what was found at it.
fn told(id: &str, step: &Step) -> Markup {
    let link = |text: &str| {
        let probe =
            step.probes.iter().position(|probe| text.strip_prefix(&probe.id).is_some_and(|rest| rest.starts_with(' ')));
        probe.map(|index| format!("#{id}-p{index}"))
    };
    html! {
        ul class="plain" {
            @for line in timeline::changes(step) { li { (line) } }
            @for found in timeline::found(step) {
                @let class = match found.verdict {
                    Verdict::Pass => "",
                    Verdict::Fail | Verdict::Error => "bad",
                    Verdict::Skip | Verdict::Inconclusive => "doubt",
                };
                li class=(class) {
                    @if let Some(link) = link(&found.text) { a href=(link) { (found.text) } } @else { (found.text) }
                }
            }
            @for one in &step.streams {
                li { (strip(one)) (timeline::stream(one)) }
            }
            @for line in step.remark.iter().chain(&step.not_taken) { li class="dim" { (line) } }
        }
    }
}

/// A stream as a band: where answers stayed away.
fn strip(stream: &Stream) -> Markup {
    let end = stream.lasted_us.max(1) as f64;
    html! {
        svg class="strip" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect class="ok" x="0" y="0" width="100" height="6" {}
            @for outage in &stream.outages {
                @let from = outage.from_us as f64 * 100.0 / end;
                @let to = outage.to_us as f64 * 100.0 / end;
                rect class="lost" x=(format!("{from:.2}")) y="0" width=(format!("{:.2}", (to - from).max(0.5))) height="6" {}
            }
        }
    }
}

/// A probe: the picture with its packet's way beside the list of hops.
fn evidence(id: &str, case: &Case, probe: &Probe, gallery: &mut Gallery) -> Markup {
    let outcome = probe.outcome_text.as_deref().unwrap_or("not sent");
    let open = probe.verdict.is_some_and(|verdict| verdict > Verdict::Skip);
    let drawn = case.topology.as_ref().map(|topology| {
        let label = spoken(probe);
        gallery.picture(topology, probe.walk.as_ref(), &label)
    });
    html! {
        article id=(id) class=(if open { "probe open" } else { "probe" }) tabindex="-1" {
            h4 {
                (probe.id) ": " (outcome) " "
                @if let Some(verdict) = probe.verdict { (badge(verdict)) }
            }
            p class="dim" {
                (probe.kind) " " (probe.from) " → " (probe.to)
                @if let Some(source) = &probe.source_seen { " · the far end saw " (source) }
                @if let Some(rtt) = probe.rtt_us { " · " (format!("{:.2} ms", rtt as f64 / 1000.0)) }
            }
            @if !probe.detail.is_empty() { p class="dim" { (probe.detail) } }
            @if let (None, Some(death)) = (&probe.walk, &probe.death) {
                p class="bad" {
                    "died at " (death.at) " " (death.interface.as_deref().unwrap_or("")) ": " (death.cause) ". "
                    (death.detail)
                }
            }
            div class="way" {
                @if let Some(drawn) = drawn {
                    div class="draw" role="region" aria-label="picture" tabindex="0" { (drawn) }
                }
                @if let Some(walk) = &probe.walk { div { (hops(walk)) } }
            }
        }
    }
}

/// The way in words, for who doesn't see the picture.
fn spoken(probe: &Probe) -> String {
    let Some(walk) = &probe.walk else { return format!("the network of {}", probe.id) };
    let places: Vec<_> = walk.hops.iter().map(|hop| hop.at.as_str()).collect();
    let end = walk.last_end();
    format!("the way of {}: {}; {} at {}", probe.id, places.join(", "), end.reason, end.at)
}

fn hops(walk: &Walk) -> Markup {
    let back = walk.answer.as_deref();
    let second = walk.hops.len() + 1;
    html! {
        div class="scroll" role="region" aria-label="hops" tabindex="0" {
            table class="hops" {
                thead {
                    tr { @for name in ["#", "at", "packet", "size, ttl"] { th scope="col" { (name) } } }
                }
                tbody {
                    @for (number, hop) in (1..).zip(&walk.hops) { (one_hop(number, hop)) }
                    (ending(walk))
                    @if let Some(back) = back {
                        tr { th colspan="4" scope="colgroup" { "and back" } }
                        @for (number, hop) in (second..).zip(&back.hops) { (one_hop(number, hop)) }
                        (ending(back))
                    }
                }
            }
        }
        @if !walk.complete { p class="doubt" { "This walk may have gaps." } }
    }
}

fn one_hop(number: usize, hop: &Hop) -> Markup {
    let changed = |kind: &str, outer: bool| {
        let is = |change: &&Change| change.kind() == kind && change.of_outer() == outer;
        hop.changed.iter().any(|change| is(&change))
    };
    let field = |text: &str, marked: bool| html! { @if marked { mark { (text) } } @else { (text) } };
    html! {
        tr class=[hop.inferred.then_some("guess")] {
            td { (number) }
            td { (hop.at) " " span class="dim" { (hop.direction) } }
            td {
                @if let Some(outer) = &hop.outer {
                    span class="around m" {
                        (field(&outer.src, changed("snat", true) || changed("encapsulated", false))) " → "
                        (field(&outer.dst, changed("dnat", true) || changed("encapsulated", false)))
                        @if hop.inferred { " encrypted" }
                    }
                }
                span class="m" {
                    (field(&hop.src, changed("snat", false))) " → " (field(&hop.dst, changed("dnat", false)))
                }
                @for change in &hop.changed { span class="did" { (change.words()) } }
            }
            td class="m" { (hop.size) ", " (hop.ttl) }
        }
    }
}

fn ending(walk: &Walk) -> Markup {
    let good = walk.is_delivered();
    html! {
        tr class=(if good { "end ok" } else { "end" }) {
            td { (if good { "✓" } else { "✗" }) }
            td { strong { (walk.end.at) } }
            td colspan="2" {
                strong class=(if good { "good" } else { "bad" }) { (walk.end.words()) }
                @if !walk.end.detail.is_empty() { br; (walk.end.detail) }
            }
        }
    }
}

fn decisions(name: &str, node: &Node) -> Markup {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let addresses = |device: &str| node.nodeport_addresses.get(device).filter(|list| !list.is_empty());
    html! {
        div {
            h5 { (name) }
            @if node.agent != RUNNING {
                p class="bad" { "the agent died: " (node.agent) }
            } @else {
                dl {
                    @for device in &node.devices {
                        dt { "+ " (device) }
                        dd {
                            "selected"
                            @if let Some(source) = node.masquerade_sources.get(device) { ", masquerades as " (source) }
                            @if let Some(list) = addresses(device) { ", NodePort on " (list.join(", ")) }
                        }
                    }
                    @for (device, reason) in &node.not_selected { dt { "− " (device) } dd { (reason) } }
                    dt { "node IP" } dd { (or_none(&node.node_ip)) }
                    dt { "direct routing device" } dd { (or_none(&node.direct_routing_device)) }
                    dt { "host routing" } dd { (or_none(&node.host_routing)) }
                    dt { "skip-FIB" }
                    dd { (node.skip_fib.as_ref().map_or("off".to_owned(), |to| format!("all to {to}"))) }
                    dt { "masquerading" } dd { (or_none(&node.masquerade)) }
                    dt { "MTU of pods" } dd { (node.pod_mtu.map_or("–".to_owned(), |mtu| mtu.to_string())) }
                }
                @if !node.because.is_empty() {
                    details {
                        summary { "because" }
                        ul class="plain" {
                            @for rule in &node.because {
                                li {
                                    strong { (rule.decision) } ": " (rule.says) " " span class="dim" { (rule.source) }
                                }
                            }
                        }
                    }
                }
                @if !node.nat.is_empty() {
                    details {
                        summary { "NAT table: " (count(node.nat.len() as u64, "line")) }
                        pre tabindex="0" { (node.nat.join("\n")) }
                    }
                }
            }
        }
    }
}

/// What concerns the case as a whole.
fn the_rest(case: &Case) -> Markup {
    let helm = case.helm.as_ref();
    let notes =
        helm.map(|helm| helm.unknown.iter().map(|value| format!("not in the chart: {value}"))).into_iter().flatten();
    let phases: Vec<_> =
        case.phases.iter().map(|phase| format!("{} {:.0} ms", phase.name, phase.us as f64 / 1000.0)).collect();
    let lost: u64 = case.capture.iter().map(|seen| seen.lost).sum();
    let received: u64 = case.capture.iter().map(|seen| seen.received).sum();
    html! {
        dl class="nodes" {
            @if let Some(reason) = helm.and_then(|helm| helm.reason.as_ref()) {
                dt { "Helm refuses" } dd class="bad" { (reason) }
            }
            @for note in notes { dt { "warning" } dd { (note) } }
            @if let Some(dns) = &case.dns {
                dt { "CoreDNS" }
                dd {
                    (dns.ready) " of " (dns.replicas) " ready, " (dns.restarts) " restarts"
                    @for (name, why) in dns.not_ready.iter().chain(&dns.upstream_failures) { br; (name) ": " (why) }
                }
            }
            @for path in &case.overlay_paths { dt { "overlay" } dd { (path.from) " → " (path.to) ": " (path.path) } }
            @for drops in &case.drops {
                dt { "dropped" } dd { (drops.namespace) " by " (drops.rule) ": " (count(drops.packets, "packet")) }
            }
            @if received > 0 { dt { "captured" } dd { (received) " packets, " (lost) " lost" } }
            @if !case.doubts.is_empty() { dt { "doubts" } dd class="doubt" { (case.doubts.join("; ")) } }
            dt { "time" } dd { (seconds(case.duration_ms)) @if !phases.is_empty() { ": " (phases.join(", ")) } }
        }
    }
}

fn foot(report: &Report) -> Markup {
    html! {
        p class="dim" {
            "!! not as asserted · ?? no proof either way · ( ) not asserted here · ⊘ a claim about it is refuted. "
            "Links in the tables lead to the evidence. " (shown(&report.schema.clone().into()))
        }
    }
}
