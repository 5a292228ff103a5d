//! Version texts.

use cilium::{Checked, Minor, Rules, Version};

#[test]
fn forms() {
    for (text, minor, patch) in [
        ("1.18.2", Minor::V1_18, Some(2)),
        ("v1.18.2", Minor::V1_18, Some(2)),
        ("1.18", Minor::V1_18, None),
        ("1.14.0", Minor::V1_14, Some(0)),
        ("1.20", Minor::V1_20, None),
        ("1.19.0-rc.1", Minor::V1_19, Some(0)),
    ] {
        let version = Version::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((version.minor(), version.patch()), (minor, patch), "{text}");
        assert_eq!(version.to_string(), text, "the user's text is kept");
    }
}

#[test]
fn refusals() {
    for (text, says) in [
        ("1.21.0", "Cilium 1.21.0 is too new: 1.14 to 1.20 are known here, on every engine"),
        ("2.0", "Cilium 2.0 is too new: 1.14 to 1.20 are known here, on every engine"),
        ("1.13.9", "Cilium 1.13.9 is too old: 1.14 to 1.20 are known here, on every engine"),
        ("0.9.0", "Cilium 0.9.0 is too old: 1.14 to 1.20 are known here, on every engine"),
        ("1.18.2-/../x", "`1.18.2-/../x` is not a Cilium version: write 1.18.2, v1.18.2 or 1.18"),
        ("latest", "`latest` is not a Cilium version: write 1.18.2, v1.18.2 or 1.18"),
    ] {
        assert_eq!(Version::parse(text).expect_err(text).to_string(), says);
    }
    for text in ["", "1", "1.", "1.18.", "1.18.2.3", "1.-18", "1.99999999999999999999", "１.18"] {
        assert!(Version::parse(text).is_err(), "{text:?} is no version");
    }
}

#[test]
fn order_is_numeric() {
    let version = |text| Version::parse(text).expect(text);
    assert!(version("1.18.2") < version("1.18.10"));
    assert!(version("1.14.19") < version("1.15.0"));
    assert_eq!(version("v1.18.2"), version("1.18.2"));
}

#[test]
fn a_line_is_its_latest_release_and_a_pre_release_comes_before_its_release() {
    let version = |text| Version::parse(text).expect(text);
    let sorted = [
        "1.16",
        "1.17.0-pre.3",
        "1.17.0-rc.1",
        "1.17.0-rc.2",
        "1.17.0-rc.10",
        "1.17.0",
        "1.17.8",
        "1.17",
        "1.18-rc.0",
        "1.18.0",
        "1.18",
    ];
    for pair in sorted.windows(2) {
        assert!(version(pair[0]) < version(pair[1]), "{} comes before {}", pair[0], pair[1]);
    }
    assert_ne!(version("1.19.0-rc.1"), version("1.19.0"));
    assert_eq!(version("1.18.2+build.7"), version("1.18.2"));
    // The order says nothing of the rules: those of a pre-release are its release's.
    assert_eq!(Rules::of(&version("1.17.0-rc.1")), Rules::of(&version("1.17.0")));
    assert_eq!(Rules::of(&version("1.17")), Rules::of(&version("1.17.8")));
}

#[test]
fn measured_lines() {
    let checked = |text| Version::parse(text).expect(text).checked();
    assert_eq!(checked("1.18.2"), Checked::Measured);
    assert_eq!(checked("1.19"), Checked::Measured);
    for text in ["1.14", "1.15", "1.16", "1.17", "1.20"] {
        assert_eq!(checked(text), Checked::Unverified, "{text}");
    }
}
