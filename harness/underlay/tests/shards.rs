//! Shares of the cases, run side by side and joined: nothing lost, nothing twice.
//!
//! `UNDERLAY_SHARD_CASES` says how many cases are generated (64).

mod elsewhere;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use elsewhere::{Elsewhere, ended};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use underlay::exit;

const SHARES: usize = 4;
/// Variants of one file may be no more (`scenario::MAX_CASES`).
const VARIANTS: usize = 256;

fn main() -> ExitCode {
    elsewhere::second_life();
    let arguments = Arguments::from_args();
    let cannot = Elsewhere::Same.underlay(&["doctor"]).map_or(true, |doctor| !doctor.status.success());
    let trials = vec![Trial::test("shares_side_by_side_lose_nothing", side_by_side).with_ignored_flag(cannot)];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn underlay(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
    command.args(arguments).current_dir(folder).env_remove("GITHUB_STEP_SUMMARY").env_remove("GITHUB_ACTIONS");
    command
}

/// Scenarios with so many cases in all. One in eight has a network; to the values of the others Helm says no, which is
/// what is expected of it.
fn generate(folder: &Path, cases: usize) -> Result<(), Failed> {
    fs::create_dir_all(folder.join("scenarios"))?;
    let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/one-vcn.yaml");
    fs::copy(topology, folder.join("net.yaml"))?;
    for (file, first) in (0..cases).step_by(VARIANTS).enumerate() {
        let numbers = first..cases.min(first + VARIANTS);
        let mut text = "topology: ../net.yaml\ncilium: 1.18.2\nvariants:\n".to_owned();
        for number in numbers.clone() {
            text += &match number % 8 {
                0 => format!("  v{number}: {{}}\n"),
                _ => format!("  v{number}: {{set: [\"a,b{number}\"]}}\n"),
            };
        }
        text += "expect:\n";
        for (said, wanted) in [("accepted", true), ("refused", false)] {
            let names: Vec<_> =
                numbers.clone().filter(|number| (number % 8 == 0) == wanted).map(|n| format!("v{n}")).collect();
            text += &format!("  - in: [{}]\n    helm: {said}\n", names.join(", "));
        }
        fs::write(folder.join(format!("scenarios/generated-{file}.yaml")), text)?;
    }
    Ok(())
}

fn side_by_side() -> Result<(), Failed> {
    let cases = std::env::var("UNDERLAY_SHARD_CASES").map_or(Ok(64), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    generate(folder, cases)?;
    let listed = underlay(folder, &["test", "--list"]).output()?;
    let all: BTreeSet<String> = String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect();
    if all.len() != cases {
        return Err(format!("{} of {cases} cases were generated", all.len()).into());
    }

    let running = (1..=SHARES).map(|index| {
        let (shard, report) = (format!("{index}/{SHARES}"), format!("reports/{index}"));
        let mut command = underlay(folder, &["test", "--shard", &shard, "--report", &report]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    });
    for mut child in running.collect::<Result<Vec<_>, _>>()? {
        let status = child.wait()?;
        if status.code() != Some(i32::from(exit::OK)) {
            return Err(format!("every case comes out as expected: {status}").into());
        }
    }

    let (output, joined) = merge(folder, &["reports"])?;
    ended(&output, exit::OK, "all is there")?;
    let ids: Vec<_> = joined["cases"].as_array().ok_or("it has cases")?.iter().map(id).collect();
    if ids.len() != cases || ids.iter().cloned().collect::<BTreeSet<_>>() != all {
        return Err(format!("of {cases} cases {} came back", ids.len()).into());
    }
    if joined["summary"]["pass"] != cases {
        return Err(format!("all pass: {}", joined["summary"]).into());
    }

    // A share that is there twice.
    fs::create_dir(folder.join("again"))?;
    fs::copy(folder.join("reports/2/report.json"), folder.join("again/report.json"))?;
    let (output, joined) = merge(folder, &["reports", "again"])?;
    ended(&output, exit::FAILED, "a share is there twice")?;
    let (doubles, count) = (&joined["merge"]["doubles"], joined["cases"].as_array().map(Vec::len));
    if doubles.as_array().is_none_or(Vec::is_empty)
        || count != Some(cases)
        || joined["merge"]["missing"] != Value::Array(vec![])
    {
        return Err(format!("each of its cases is told, and there once: {doubles}").into());
    }

    // A report that was cut off isn't passed over; what is none is.
    fs::create_dir(folder.join("cut"))?;
    fs::write(folder.join("cut/other.json"), "{\"name\": ")?;
    ended(&merge(folder, &["reports", "cut"])?.0, exit::OK, "what is no report doesn't matter")?;
    let whole = fs::read_to_string(folder.join("reports/2/report.json"))?;
    for (name, length) in [("share.json", 300), ("report.json", 1), ("empty.json", 0)] {
        fs::write(folder.join("cut").join(name), &whole[..length])?;
        let output = underlay(folder, &["report", "--merge", "reports", "cut"]).output()?;
        ended(&output, exit::USAGE, "a report was cut off")?;
        if !String::from_utf8_lossy(&output.stderr).contains(&format!("cut/{name}")) {
            return Err(format!("it is named: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        fs::remove_file(folder.join("cut").join(name))?;
    }

    // What was joined is not joined again: what it lacks would be lost.
    fs::write(folder.join("cut/joined.json"), joined.to_string())?;
    let output = underlay(folder, &["report", "--merge", "reports", "cut"]).output()?;
    ended(&output, exit::USAGE, "one is joined already")?;

    // The same on another kernel, where one case came out otherwise, and one share was lost.
    for index in 1..SHARES {
        let text = fs::read_to_string(folder.join(format!("reports/{index}/report.json")))?;
        let mut report: Value = serde_json::from_str(&text)?;
        report["host"]["kernel"] = "6.1.0-other".into();
        if index == 1 {
            report["cases"][0]["verdict"] = "fail".into();
        }
        fs::create_dir_all(folder.join(format!("other/{index}")))?;
        fs::write(folder.join(format!("other/{index}/report.json")), report.to_string())?;
    }
    let (output, joined) = merge(folder, &["reports", "other"])?;
    ended(&output, exit::FAILED, "a share is missing")?;
    let merged = &joined["merge"];
    if merged["missing"] != serde_json::json!([{"index": SHARES, "of": SHARES}]) {
        return Err(format!("the last share of the other kernel is missing: {}", merged["missing"]).into());
    }
    let differing = merged["differing"].as_array().ok_or("it tells what differs")?;
    if differing.len() != 1 || differing[0]["about"] != "verdict" {
        return Err(format!("one verdict differs: {differing:?}").into());
    }
    let told = underlay(folder, &["report", "--merge", "reports", "other"]).env("NO_COLOR", "1").output()?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for line in [format!("missing: {SHARES}/{SHARES}"), "differs: verdict of ".to_owned(), "6.1.0-other".to_owned()] {
        if !told.contains(&line) {
            return Err(
                format!("people are told `{line}` too:\n{}", told.chars().take(2000).collect::<String>()).into()
            );
        }
    }
    Ok(())
}

fn id(case: &Value) -> String {
    format!("{}::{}", case["scenario"].as_str().unwrap_or_default(), case["variant"].as_str().unwrap_or_default())
}

fn merge(folder: &Path, paths: &[&str]) -> Result<(Output, Value), Failed> {
    let output = underlay(folder, &[&["report", "--merge", "--format", "json"], paths].concat()).output()?;
    let joined = serde_json::from_slice(&output.stdout)?;
    Ok((output, joined))
}
