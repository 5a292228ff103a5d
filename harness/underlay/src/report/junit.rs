//! The report as JUnit XML, which GitHub's actions, GitLab and Jenkins read: a suite for each scenario, a test for each
//! variant.
//!
//! JUnit knows failures, errors and skipped tests. What is inconclusive is a failure of the type `inconclusive`: a CI
//! must not take it for a pass.

use std::io;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report as Document, TestCase, TestCaseStatus, TestSuite, XmlString};

use super::human;
use super::merge::Merge;
use super::paint::Paint;
use super::schema::{Case, Host, Report};
use super::table::{about, about_in, groups, shown_whole};
use super::timeline;
use crate::verdict::{Provenance, Verdict};

/// The whole document.
///
/// # Errors
/// The writer of XML refuses.
pub fn render(report: &Report) -> io::Result<String> {
    let mut document = Document::new("underlay");
    document.set_time(Duration::from_millis(report.duration_ms));
    document.add_test_suites(report.merge.as_ref().map(joined));
    document.add_test_suites(groups(&report.cases).iter().map(|group| suite(group, &report.host)));
    document.to_string().map_err(io::Error::other)
}

/// Whether joined reports are whole: a test for each way in which they might not be.
fn joined(merge: &Merge) -> TestSuite {
    const NAME: &str = "joined reports";
    let mut suite = TestSuite::new(NAME);
    suite.add_test_cases(merge.faults().map(|(kind, lines)| {
        let mut status = TestCaseStatus::success();
        if !lines.is_empty() {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(kind).set_message(text(&lines.join("; ")));
        }
        let mut test = TestCase::new(format!("nothing {kind}"), status);
        test.set_classname(NAME);
        test
    }));
    suite.set_system_out(text(&merge.text(Paint(false))));
    suite
}

fn suite(group: &[&Case], host: &Host) -> TestSuite {
    let first = group[0];
    let mut suite = TestSuite::new(text(&first.scenario));
    let decisions = match first.decisions {
        Provenance::Model => "model",
        Provenance::Real => "real",
        Provenance::Stub => "stub",
    };
    let properties = [
        ("engine", first.engine.as_str()),
        ("decisions", decisions),
        ("model", &first.model),
        ("cilium", &first.cilium),
        ("kubernetes", first.kubernetes.as_deref().unwrap_or_default()),
        ("file", &first.file),
        ("kernel", &host.kernel),
        ("underlay", &host.underlay),
    ];
    let told = properties.into_iter().filter(|(_, value)| !value.is_empty());
    suite.add_properties(told.map(|(name, value)| Property::new(name, text(value))));
    suite.set_time(group.iter().map(|case| Duration::from_millis(case.duration_ms)).sum());
    suite.add_test_cases(group.iter().map(|case| test(case)));
    suite
}

fn test(case: &Case) -> TestCase {
    let mut status = match case.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Fail | Verdict::Inconclusive => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    if case.verdict != Verdict::Pass {
        status.set_type(case.verdict.name()).set_message(text(&headline(case)));
    }
    if matches!(case.verdict, Verdict::Fail | Verdict::Inconclusive | Verdict::Error) {
        status.set_description(text(&human::failure(case, Paint(false))));
    }
    let mut test = TestCase::new(text(&case.variant), status);
    test.set_classname(text(&case.scenario)).set_time(Duration::from_millis(case.duration_ms));
    let assertions = case.checks.len() + case.steps.iter().map(|step| step.checks.len()).sum::<usize>();
    if assertions > 0 {
        test.set_assertions(assertions);
    }
    let mut told = claims(case);
    if case.again {
        told.push_str(human::RAN_TWICE);
        told.push('\n');
    }
    if timeline::tells(case) {
        told.push_str(&timeline::text(case, Paint(false)));
    }
    if !told.is_empty() {
        test.set_system_out(text(&told));
    }
    test
}

/// The first thing that is wrong, in a line.
pub(super) fn headline(case: &Case) -> String {
    let wrong: Vec<_> = case.unmet().filter(|(_, check)| check.verdict == case.verdict).collect();
    match (wrong.as_slice(), &case.reason) {
        ([(step, first), rest @ ..], _) => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let about = about_in(*step, first);
            let (expected, measured) = (shown_whole(&first.expected), shown_whole(&first.measured));
            format!("{about}: expected {expected}, measured {measured}{more}")
        }
        ([], Some(reason)) => reason.clone(),
        ([], None) => case.verdict.name().to_owned(),
    }
}

/// `refuted: guide §3 said node-ip of master 10.0.0.239; measured 100.64.0.1`
fn claims(case: &Case) -> String {
    let lines = case.claims.iter().map(|claim| {
        let word = match claim.held {
            Some(true) => "held",
            Some(false) => "refuted",
            None => "undecided",
        };
        let about = about(&claim.id, claim.node.as_deref());
        let (said, measured) = (shown_whole(&claim.said), shown_whole(&claim.measured));
        format!("{word}: {} said {about} {said}; measured {measured}\n", claim.by)
    });
    lines.collect()
}

/// Without the two characters that XML can't hold and `XmlString` lets through.
fn text(text: &str) -> XmlString {
    XmlString::new(text.replace(['\u{fffe}', '\u{ffff}'], ""))
}
