//! An ordinary user gets what root gets, where /dev/net/tun is open to all.

mod elsewhere;

use std::process::ExitCode;

use elsewhere::{Elsewhere, ended};
use libtest_mimic::{Arguments, Failed};
use serde_json::Value;
use underlay::exit;

const SCENARIO: &str = "scenarios/guide/table.yaml";

fn main() -> ExitCode {
    elsewhere::second_life();
    let arguments = Arguments::from_args();
    let trials = vec![
        Elsewhere::Ordinary.trial("the_guides_table_passes", arguments.list, table),
        Elsewhere::Ordinary.trial("doctor_finds_what_root_finds", arguments.list, doctor),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// How the program ended, and of each case its variant, its verdict and its probes' outcomes.
type Verdicts = (Option<i32>, Vec<[Value; 3]>);

fn verdicts(elsewhere: Elsewhere) -> Result<Verdicts, Failed> {
    let output = elsewhere.underlay(&["test", SCENARIO, "--format", "json"])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let cases = report["cases"].as_array().ok_or("a report has cases")?;
    let mut verdicts = Vec::new();
    for case in cases {
        let probes = case["probes"].as_array().ok_or("a case has probes")?;
        let outcome = |probe: &Value| Value::Array(vec![probe["id"].clone(), probe["outcome"].clone()]);
        let probes = Value::Array(probes.iter().map(outcome).collect());
        verdicts.push([case["variant"].clone(), case["verdict"].clone(), probes]);
    }
    Ok((output.status.code(), verdicts))
}

fn table(elsewhere: Elsewhere) -> Result<(), Failed> {
    // Where root lacks something too (a kernel module), an ordinary user can have no more.
    let (root, ordinary) = (verdicts(Elsewhere::Same)?, verdicts(elsewhere)?);
    if root.0 != Some(i32::from(exit::OK)) && root.0 != Some(i32::from(exit::HOST)) {
        return Err(format!("this user gets {root:?}, so there is nothing to compare with").into());
    }
    if ordinary != root {
        return Err(format!("an ordinary user should get what this one gets\n{root:?}\ngot\n{ordinary:?}").into());
    }
    Ok(())
}

fn doctor(elsewhere: Elsewhere) -> Result<(), Failed> {
    let output = elsewhere.underlay(&["doctor", "--color", "never"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains("✓ network namespaces") || !text.contains("✓ TUN devices") {
        return Err(format!("it should find namespaces, and the TUN device that is open to all:\n{text}").into());
    }
    // Which of the other things there are is up to the kernel, whoever asks.
    ended(&output, Elsewhere::Same.underlay(&["doctor"])?.status.code().unwrap_or_default() as u8, "root's ends so too")
}
