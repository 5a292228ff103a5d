//! The forms of a report that other programs show: pages, CI's formats, pictures. Golden files are in `report/`;
//! `BLESS=1` writes them. And what each form makes of texts that want to break out of it.

mod support;

use std::path::{Path, PathBuf};

use support::reports::{HOSTILE, golden, hostile, mixed};
use topology::Network;
use underlay::report::github::{self, Root};
use underlay::report::human;
use underlay::report::merge::merge;
use underlay::report::paint::Paint;
use underlay::report::picture::{mermaid, svg};
use underlay::report::render::{self, Form, Unreadable};
use underlay::report::schema::topology::Topology;
use underlay::report::schema::{self, Report};
use underlay::report::{html, junit, markdown};
use underlay::verdict::Verdict;

fn root() -> Root {
    Root { workspace: PathBuf::from("/repository"), here: PathBuf::from("/repository/below") }
}

#[test]
fn page() {
    golden("mixed.html", &html::render(&mixed()));
}

#[test]
fn junit_xml() {
    golden("mixed.junit.xml", &junit::render(&mixed()).expect("XML can be written"));
}

#[test]
fn step_summary() {
    golden("mixed.md", &markdown::render(&mixed(), markdown::LIMIT));
}

#[test]
fn annotations() {
    let text = github::annotations(&mixed(), &root());
    golden("mixed.annotations", &text);
    assert!(text.contains("file=below/scenarios/by/hand.yaml,line=31"), "from the repository's top: {text}");
}

/// Takes a report's cases behind its first one away, as an interrupt does.
fn interrupt(report: &mut Report) {
    let unfinished = report.cases.split_off(1).into_iter().map(|case| {
        let schema::Case { scenario, variant, engine, model, cilium, kubernetes, kernel_overlay, .. } = case;
        schema::Unfinished { scenario, variant, engine, model, cilium, kubernetes, kernel_overlay }
    });
    report.unfinished = unfinished.collect();
    report.interrupted = Some("SIGTERM".to_owned());
}

/// Half of a run, its first share of two, brought twice: by root and by an ordinary user, of whom the latter was stopped.
fn joined() -> Report {
    let part = |rootless| {
        let mut report = mixed();
        report.host.shard = Some("1/2".parse().expect("a share"));
        report.host.rootless = rootless;
        report
    };
    let mut stopped = part(true);
    interrupt(&mut stopped);
    merge(vec![("root.json".to_owned(), part(false)), ("rootless.json".to_owned(), stopped)])
}

#[test]
fn what_is_wrong_with_joined_reports_is_in_every_form() {
    let report = joined();
    let forms = [
        html::render(&report),
        markdown::render(&report, markdown::LIMIT),
        junit::render(&report).expect("XML can be written"),
    ];
    for (form, lines) in forms.iter().flat_map(|form| report.merge.iter().map(move |merge| (form, merge.faults()))) {
        for (kind, lines) in lines {
            assert!(lines.iter().all(|line| form.contains(line)), "{kind} {lines:?} in:\n{form}");
        }
        assert!(form.contains("2/2") && form.contains("rootless.json") && form.contains("x86_64 rootless"), "{form}");
    }
    let suites = quick_junit::Report::deserialize_from_str(&forms[2]).expect("what is written can be read").test_suites;
    let failed = |suite: &quick_junit::TestSuite| (suite.name.to_string(), suite.test_cases.len(), suite.failures);
    assert_eq!(failed(&suites[0]), ("joined reports".to_owned(), 3, 2), "a share is missing, a run was interrupted");
}

/// The same case with another Kubernetes is another case: nothing is there twice.
#[test]
fn versions_of_kubernetes_are_told_apart() {
    let part = |version: &str| {
        let mut report = mixed();
        report.cases.iter_mut().for_each(|case| case.kubernetes = Some(version.to_owned()));
        (format!("{version}.json"), report)
    };
    let cases = mixed().cases.len();
    let report = merge(vec![part("1.33.4"), part("1.34.0")]);
    assert_eq!(report.cases.len(), 2 * cases);
    assert!(report.merge.as_ref().is_some_and(|merge| merge.doubles.is_empty()));
    let text = human::render(&report, Paint(false), 80);
    assert!(text.contains("Kubernetes 1.33.4") && text.contains("Kubernetes 1.34.0"), "{text}");
}

/// A share that was interrupted and then brought whole is no second run, and lacks nothing.
#[test]
fn what_was_done_again_after_an_interrupt_is_whole() {
    let part = |share: &str, interrupted: bool| {
        let mut report = mixed();
        report.host.shard = Some(share.parse().expect("a share"));
        report.cases.iter_mut().for_each(|case| case.variant += share);
        if interrupted {
            interrupt(&mut report);
        }
        (format!("{share} {interrupted}"), report)
    };
    let cases = mixed().cases.len();
    let report = merge(vec![part("1/2", true), part("1/2", false), part("2/2", false)]);
    let joined = report.merge.as_ref().expect("it was joined");
    assert!(joined.is_whole(), "{joined:?}");
    assert_eq!((report.cases.len(), report.interrupted), (2 * cases, None));

    // Another version of Cilium isn't the same, nor is another verdict.
    let (file, mut other) = part("1/2", false);
    other.cases.iter_mut().for_each(|case| case.cilium = "1.19.0".to_owned());
    let report = merge(vec![part("1/2", true), (file, other), part("2/2", false)]);
    assert!(!report.merge.as_ref().expect("it was joined").is_whole());
    let (file, mut flaky) = part("1/2", true);
    flaky.cases[0].verdict = Verdict::Fail;
    let report = merge(vec![(file, flaky), part("1/2", false), part("2/2", false)]);
    assert_eq!(report.merge.as_ref().expect("it was joined").doubles.len(), 1);

    // What nobody has done again is missing.
    let report = merge(vec![part("1/2", true), part("2/2", false)]);
    let joined = report.merge.as_ref().expect("it was joined");
    assert!(!joined.is_whole(), "{joined:?}");
    assert_eq!((report.cases.len(), report.interrupted.as_deref()), (1 + cases, Some("SIGTERM")));
}

/// That a machine was too busy for a first verdict is nobody's secret.
#[test]
fn that_a_case_ran_twice_is_in_every_form() {
    let mut report = mixed();
    report.cases[0].again = true;
    for form in Form::ALL {
        let text = form.render(&report).expect("it is written");
        let told = if form == Form::Json { "\"again\": true" } else { "ran twice" };
        assert!(text.contains(told), "{form:?}: {text}");
    }
}

/// Every element and attribute of a page of hostile texts is one that a page without them has too.
#[test]
fn nothing_breaks_out_of_the_page() {
    let tags = |page: &str| -> std::collections::BTreeSet<String> {
        let pieces = page.split('<').skip(1).map(|piece| piece.split(['>', ' ', '\n']).next().unwrap_or("").to_owned());
        pieces.collect()
    };
    let (tame, wild) = (html::render(&mixed()), html::render(&hostile(&mixed())));
    let new: Vec<_> = tags(&wild).difference(&tags(&tame)).cloned().collect();
    assert!(new.is_empty(), "elements that only hostile texts bring: {new:?}");
    for forbidden in ["<script", "<img", "\" onerror", "'><"] {
        assert!(!wild.contains(forbidden) || tame.contains(forbidden), "{forbidden} broke out");
    }
    for page in [&tame, &wild] {
        assert!(page.contains("default-src 'none'"), "the page's policy is in it");
    }
    for outside in ["src=", "href=\"http", "url(", "@import", "<link", "<script", "<iframe"] {
        assert!(!tame.contains(outside), "the page fetches something: {outside}");
    }
}

#[test]
fn every_link_of_the_page_leads_somewhere() {
    let page = html::render(&mixed());
    let after = |mark: &'static str| {
        page.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect::<Vec<_>>()
    };
    let ids = after(" id=\"");
    for link in after("href=\"#") {
        assert!(ids.contains(&link), "#{link} is nowhere");
    }
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "each id is there once");
}

#[test]
fn nothing_moves_the_terminal() {
    let text = human::render(&hostile(&mixed()), Paint(false), 80);
    let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert_eq!(control, None, "a control character came through");
    assert!(!text.lines().any(|line| line.starts_with("::")), "a text began a line");
}

#[test]
fn nothing_breaks_out_of_xml() {
    let xml = junit::render(&hostile(&mixed())).expect("XML can be written");
    let read = quick_junit::Report::deserialize_from_str(&xml).expect("what is written can be read");
    assert_eq!(read.test_suites.len(), 1);
    assert_eq!(read.test_suites[0].test_cases.len(), 4);
    let name = read.test_suites[0].name.as_str();
    assert!(name.contains("<script>") && !name.contains(['\0', '\u{1b}']), "the text is a text: {name:?}");
}

#[test]
fn nothing_breaks_out_of_markdown() {
    let (tame, wild) =
        (markdown::render(&mixed(), markdown::LIMIT), markdown::render(&hostile(&mixed()), markdown::LIMIT));
    // Outside of code blocks there is no element but ours, and each row has as many cells as without.
    let outside = |text: &str| -> Vec<String> {
        let mut fence: Option<String> = None;
        let mut lines = Vec::new();
        for line in text.lines() {
            let ticks: String = line.chars().take_while(|letter| *letter == '`').collect();
            match &fence {
                Some(open) if line.trim_end() == open => fence = None,
                Some(_) => {}
                None if ticks.len() >= 3 => fence = Some(ticks),
                None => lines.push(line.to_owned()),
            }
        }
        assert!(fence.is_none(), "every code block is closed");
        lines
    };
    let cells = |lines: &[String]| -> Vec<usize> {
        lines.iter().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect()
    };
    let (tame, wild) = (outside(&tame), outside(&wild));
    assert_eq!(cells(&tame), cells(&wild), "hostile names make no cells");
    for line in &wild {
        let stripped = ["<details open>", "</details>", "<summary>", "</summary>", "<sub>", "</sub>"]
            .iter()
            .fold(line.clone(), |line, tag| line.replace(tag, ""));
        assert!(!stripped.contains(['<', '`']), "an element broke out: {line}");
    }
}

#[test]
fn nothing_breaks_out_of_annotations() {
    let text = github::annotations(&hostile(&mixed()), &root());
    assert_eq!(text.lines().count(), github::annotations(&mixed(), &root()).lines().count(), "a line each: {text}");
    for line in text.lines() {
        let rest = line.strip_prefix("::error ").expect("each is an error");
        let (properties, message) = rest.split_once("::").expect("a message follows");
        assert_eq!(properties.split(',').count(), 3, "file, line and title: {properties}");
        assert!(!message.contains('\r'));
    }
}

#[test]
fn many_annotations_are_cut_with_a_word() {
    let mut report = mixed();
    report.cases = std::iter::repeat_n(report.cases[2].clone(), 9).collect();
    let text = github::annotations(&report, &root());
    assert_eq!(text.lines().count(), 10);
    assert!(text.ends_with("::error title=underlay::and 9 more, in the summary\n"), "{text}");
}

#[test]
fn the_summary_keeps_within_its_room() {
    let mut report = mixed();
    report.cases = std::iter::repeat_n(report.cases[2].clone(), 40).collect();
    for limit in [0, 10, 100, 1000, 20_000] {
        let text = markdown::render(&report, limit);
        assert!(text.len() <= limit, "{} bytes where there is room for {limit}", text.len());
    }
    let text = markdown::render(&report, 20_000);
    assert!(text.ends_with("see the other reports._\n"), "what is missing is said");
}

fn shipped() -> impl Iterator<Item = (String, Network)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies");
    let files = std::fs::read_dir(folder).expect("topologies are shipped").map(|entry| entry.expect("a file").path());
    files.map(|file| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, topology::load(&file).expect("a shipped topology is right"))
    })
}

#[test]
fn pictures_of_the_shipped_topologies() {
    for (name, network) in shipped() {
        let topology = Topology::bare(&network);
        golden(&format!("graph/{name}.svg"), &svg::file(&topology));
        golden(&format!("graph/{name}.mmd"), &mermaid::draw(&topology));
    }
}

/// Nothing lies on another thing of its kind, and all is within the picture.
#[test]
fn pictures_have_room_for_everything() {
    use underlay::report::picture::{Area, Picture};
    let apart = |one: Area, other: Area| {
        one.x + one.w <= other.x || other.x + other.w <= one.x || one.y + one.h <= other.y || other.y + other.h <= one.y
    };
    for (name, network) in shipped() {
        let node = &network.nodes[0].name;
        let seen = [format!("{node}/cilium_vxlan"), format!("{node}/coredns"), "internet".to_owned()];
        let seen: Vec<_> = seen.iter().map(String::as_str).collect();
        let picture = Picture::of(&Topology::with_pods(&network), &seen);
        for (index, chip) in picture.chips.iter().enumerate() {
            let Area { x, y, w, h } = chip.area;
            let inside = x >= 0 && y >= 0 && x + w <= picture.width && y + h <= picture.height;
            assert!(inside, "{name}: {} is within the picture", chip.place);
            for other in &picture.chips[index + 1..] {
                assert!(apart(chip.area, other.area), "{name}: {} lies on {}", chip.place, other.place);
            }
        }
        for place in seen {
            assert!(picture.chip(place).is_some(), "{name}: {place} is drawn");
        }
    }
}

#[test]
fn hostile_pictures_are_pictures() {
    for (_, network) in shipped() {
        let mut topology = Topology::bare(&network);
        topology.name.push_str(HOSTILE);
        for node in &mut topology.nodes {
            node.role.push_str(HOSTILE);
            for nic in &mut node.interfaces {
                nic.addresses.push(HOSTILE.to_owned());
            }
        }
        let drawn = svg::file(&topology);
        assert!(!drawn.contains("<script") && !drawn.contains("<img") && !drawn.contains('\0'), "{drawn}");
        let text = mermaid::draw(&topology);
        assert!(!text.contains("<script") && !text.contains("::error"), "{text}");
    }
}

#[test]
fn reports_are_read_again() {
    let written = mixed();
    let text = Form::Json.render(&written).expect("it can be written");
    assert_eq!(render::read(&text).expect("what is written can be read"), written);
    let newer = text.replacen("underlay.report/1", "underlay.report/2", 1);
    assert!(matches!(render::read(&newer), Err(Unreadable::Version { found }) if found == "underlay.report/2"));
    assert!(matches!(render::read("{}"), Err(Unreadable::NoReport)));
    assert!(matches!(render::read("pass"), Err(Unreadable::Json(_))));
    assert!(matches!(render::read(r#"{"schema": "underlay.report/1"}"#), Err(Unreadable::Shape(_))));
}

/// A report of a later program of the same schema has keys and words that this one doesn't know.
#[test]
fn what_a_later_version_adds_is_skipped() {
    let mut value = serde_json::to_value(mixed()).unwrap();
    value["invented"] = 1.into();
    let walk = &mut value["cases"][2]["probes"][0]["walk"];
    walk["end"]["reason"] = "swallowed-by-a-whale".into();
    walk["hops"][0]["changed"] = serde_json::json!([{"painted": {"colour": "red"}}]);
    let report = render::read(&value.to_string()).expect("additions are skipped");
    let page = html::render(&report);
    assert!(page.contains("swallowed-by-a-whale") && page.contains("painted"), "an unknown word is shown as it is");
}
