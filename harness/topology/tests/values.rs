//! Helm values: what Helm makes of the same text (sigs.k8s.io/yaml, goyaml.v2).

use serde_json::{Value, json};
use topology::source::Source;

#[test]
fn words_and_numbers_are_what_helm_reads() {
    let text = "\
bpf: {masquerade: yes}   # no word
switches: [on, OFF, y, N, Yes, no]
quoted: [\"yes\", 'no', \"0123\"]
words: [yEs, yes please, nope, \"\"]
modes: [0644, -017, 089, 00]
numbers: [0, 12, -3, 0.5]
base: &base {keep: off}
again: *base
merged: {<<: *base, more: true}
block: |-
  yes
nothing:
";
    let source = Source::from_bytes("values.yaml", text).expect("text");
    let values = source.values().unwrap_or_else(|wrong| panic!("{wrong}"));
    let expected = json!({
        "bpf": {"masquerade": true},
        "switches": [true, false, true, false, true, false],
        "quoted": ["yes", "no", "0123"],
        "words": ["yEs", "yes please", "nope", ""],
        "modes": [420, -15, 89.0, 0],
        "numbers": [0, 12, -3, 0.5],
        "base": {"keep": false},
        "again": {"keep": false},
        "merged": {"keep": false, "more": true},
        "block": "yes",
        "nothing": null,
    });
    assert_eq!(Value::Object(values), expected);
}

/// Everything else of a file is YAML 1.2.
#[test]
fn elsewhere_they_are_words() {
    let source = Source::from_bytes("t.yaml", "[yes, off, 0123]").expect("text");
    let words: Value = source.parse().unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(words, json!(["yes", "off", "0123"]));
}

#[test]
fn what_is_no_map_is_told() {
    let source = Source::from_bytes("values.yaml", "- devices: enp0s6\n").expect("text");
    let wrong = source.values().expect_err("a list").to_string();
    assert!(wrong.contains("values.yaml:1"), "{wrong}");
}
