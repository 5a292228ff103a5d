//! Input that is too much: refused with a reason, whatever it is.

use std::{fmt::Write, fs};

use topology::{
    source::{Diagnostics, MAX_BYTES, Source},
    validate::{MAX_NODES, MAX_VCNS},
};

fn mistakes(text: impl Into<Vec<u8>>) -> Diagnostics {
    Source::from_bytes("t.yaml", text).and_then(|source| topology::parse(&source)).expect_err("it is too much")
}

fn nodes(count: usize) -> String {
    let mut text = "vcns: {a: {nat: none, cidr: 10.0.0.0/16}}\nnodes:\n".to_owned();
    for number in 0..count {
        let (high, low) = (number / 250, number % 250 + 2);
        writeln!(text, "  n{number}: {{interfaces: {{eth0: {{vcn: a, address: 10.0.{high}.{low}/16}}}}}}")
            .expect("memory");
    }
    text
}

#[test]
fn ten_megabytes_of_noise_are_refused_before_they_are_read() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(10 << 20)
    .collect();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), &noise).expect("writable");
    let said = topology::load(file.path()).expect_err("noise is no topology");
    assert_eq!(said.first().message, "the file is larger than 1024 KiB");
    let part = mistakes(&noise[..MAX_BYTES]);
    assert!(part.first().message.ends_with("isn't UTF-8"), "{part}");
    assert!(part.first().line().is_some() && part.first().column().is_some());
}

#[test]
fn the_largest_file_is_still_read() {
    let mut text = nodes(3);
    let comment = format!("# {}\n", "x".repeat(1000));
    while text.len() + comment.len() <= MAX_BYTES {
        text += &comment;
    }
    let source = Source::from_bytes("t.yaml", text).expect("within the limit");
    assert_eq!(topology::parse(&source).expect("valid").nodes.len(), 3);
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = topology::load(&folder.path().join("no.yaml")).expect_err("not there");
    assert!(missing.first().message.starts_with("the file can't be read: "), "{missing}");
    let directory = topology::load(folder.path()).expect_err("a folder");
    assert!(directory.first().help.is_some(), "{directory}");
}

#[test]
fn not_utf8() {
    let said = mistakes(b"vcns:\n  \xc3\xa9\xff: 1\n".to_vec());
    assert_eq!((said.first().line(), said.first().column()), (Some(2), Some(4)), "{said}");
    assert_eq!(said.first().message, "byte 0xff here isn't UTF-8");
}

#[test]
fn alias_bomb() {
    let mut text = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*l{}", level - 1);
        writeln!(text, "l{level}: &l{level} [{}]", vec![below; 10].join(", ")).expect("memory");
    }
    mistakes(text.clone());
    // The same where lists are expected, so that not the unknown key is what stops it.
    let nested = text.replace("l0: &l0", "description: &d x\nnodes:\n - &l0").replace(": &l", "\n - &l");
    mistakes(nested);
    let mut flat = "vcns: {a: {nat: none, cidr: 10.0.0.0/8}}\nnodes:\n  n0:\n    interfaces: &i\n".to_owned();
    for number in 0..60 {
        let list = vec!["10.0.0.1/8"; 60].join(", ");
        writeln!(flat, "      e{number}: {{vcn: a, address: [{list}]}}").expect("memory");
    }
    for number in 1..5000 {
        writeln!(flat, "  n{number}: {{interfaces: *i}}").expect("memory");
    }
    let said = mistakes(flat);
    assert!(said.iter().any(|one| one.message == "the file goes beyond what is read"), "{said}");
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for levels in [40, 300, 100_000] {
            mistakes(format!("vcns: {}{}\n", open.repeat(levels), close.repeat(levels)));
            mistakes(format!("{}x{}\n", open.repeat(levels), close.repeat(levels)));
        }
    }
}

#[test]
fn as_many_nodes_as_there_may_be_and_one_more() {
    let source = Source::from_bytes("t.yaml", nodes(MAX_NODES)).expect("small");
    assert_eq!(topology::parse(&source).expect("valid").nodes.len(), MAX_NODES);
    let said = mistakes(nodes(MAX_NODES + 1));
    assert_eq!(said.first().message, format!("{} nodes; {MAX_NODES} is the most there can be", MAX_NODES + 1));
    assert_eq!(said.first().line(), Some(MAX_NODES as u32 + 3), "the first one too many");
}

#[test]
fn thousands_of_mistakes_are_not_all_printed() {
    let mut text = "vcns:\n".to_owned();
    for number in 0..20_000 {
        writeln!(text, "  v{number}: {{cidr: x}}").expect("memory");
    }
    text += "nodes:\n";
    for number in 0..5_000 {
        writeln!(text, "  N{number}: {{interfaces: {{e: {{vcn: w{number}}}}}}}").expect("memory");
    }
    let said = mistakes(text);
    assert!(said.len() <= 200, "{}", said.len());
    let printed = said.to_string();
    assert!(printed.ends_with("more mistakes"), "{}", &printed[printed.len() - 200..]);
    assert!(printed.contains(&format!("{MAX_VCNS} is the most")) || said.len() == 200);
}

#[test]
fn one_endless_line_is_not_quoted() {
    let said = mistakes(format!("vcns: {{a: {{nat: none, cidr: {}}}}}\nnodes: {{}}\n", "1".repeat(500_000)));
    assert!(said.to_string().len() < 1000, "{}", said.to_string().len());
    let said = mistakes(format!("{}: 1\n", "k".repeat(900)));
    assert!(said.first().message.len() < 200, "{said}");
}
