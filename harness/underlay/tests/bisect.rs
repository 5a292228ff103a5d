//! The search for the first bad one, and the votes of a step. Pure; and what `underlay bisect` refuses.

use std::path::Path;
use std::process::{Command, Output};

use underlay::bisect::{Mark, Search, Votes};
use underlay::exit;

/// Searches until there is nothing left to try. Returns how many were tried.
fn search(search: &mut Search, mark: impl Fn(usize) -> Mark) -> usize {
    let mut tried = 0;
    while let Some(index) = search.next() {
        search.note(index, mark(index));
        tried += 1;
        assert!(tried < 1000, "it goes round in circles: {search:?}");
    }
    tried
}

#[test]
fn finds_the_first_bad_one_in_as_few_steps_as_can_be() {
    for count in 2..50_usize {
        for first in 1..count {
            let mut found = Search::new(count).expect("two ends");
            let tried = search(&mut found, |index| if index < first { Mark::Good } else { Mark::Bad });
            assert_eq!(found.bounds(), (first - 1, first), "{count} candidates, bad from {first} on");
            assert_eq!(found.suspects(), first..=first);
            let most = (count - 1).ilog2() as usize + 1;
            assert!(tried <= most, "{tried} tried of {count}, where {most} are enough");
        }
    }
}

#[test]
fn what_is_unclear_is_gone_round_and_stays_suspect() {
    for count in 3..20_usize {
        for first in 1..count {
            for unclear in 1..count - 1 {
                let mut found = Search::new(count).expect("two ends");
                search(&mut found, |index| match index {
                    _ if index == unclear => Mark::Unclear,
                    _ if index < first => Mark::Good,
                    _ => Mark::Bad,
                });
                let suspects = found.suspects();
                assert!(suspects.contains(&first), "{suspects:?} without {first}, {unclear} of {count} unclear");
                let expected = if unclear == first || unclear == first - 1 { 2 } else { 1 };
                assert!(suspects.count() <= expected, "{unclear} of {count} unclear, bad from {first} on");
            }
        }
    }
}

#[test]
fn one_candidate_is_no_search() {
    assert_eq!((Search::new(0), Search::new(1)), (None, None));
}

#[test]
fn votes() {
    use Mark::{Bad, Good, Unclear};
    for (runs, confirm, marks, expected) in [
        (1, None, &[Good][..], Good),
        (1, None, &[Bad], Bad),
        (1, None, &[Unclear], Unclear),
        (3, None, &[Good, Bad, Bad], Bad),
        (3, None, &[Good, Good, Bad], Good),
        (3, None, &[Good, Unclear, Bad], Unclear),
        (3, Some(1), &[Good, Good, Bad], Bad),
        (3, Some(3), &[Good, Bad, Bad], Good),
        (3, Some(3), &[Bad, Bad, Bad], Bad),
        (3, Some(3), &[Bad, Unclear, Bad], Unclear),
        (4, None, &[Good, Good, Bad, Bad], Good),
        // Not all have been counted yet.
        (3, None, &[Good], Unclear),
    ] {
        let votes = Votes::new(runs, confirm).expect("they can be counted");
        assert_eq!(votes.count(marks), expected, "{votes:?}: {marks:?}");
    }
    let read = |text: &str| text.parse::<Votes>().ok();
    assert_eq!((read("2-of-5"), read("5")), (Votes::new(5, Some(2)), Votes::new(5, Some(3))));
    for text in ["", "0", "-of-", "3-of-2", "1-of-101", "2 of 5"] {
        assert_eq!(read(text), None, "{text:?}");
    }
    for (runs, confirm) in [(0, None), (3, Some(0)), (3, Some(4))] {
        assert_eq!(Votes::new(runs, confirm), None, "{confirm:?} of {runs}");
    }
}

fn underlay(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Command::new(env!("CARGO_BIN_EXE_underlay")).args(arguments).current_dir(root).output().expect("it runs")
}

#[test]
fn misuse_is_told_and_nothing_is_built() {
    let case = "scenarios/devices/node-ip-overlay.yaml::tailscale0";
    for (arguments, told) in [
        (&["--good", "1.19", "--bad", "1.18.2", case][..], "not older than the bad one"),
        // A line is its latest release.
        (&["--good", "1.17", "--bad", "1.17.0", case], "not older than the bad one"),
        (&["--good", "1.18.2", "--bad", "1.18.4", case], "knows no difference between 1.18.2 and 1.18.4"),
        (&["--good", "1.18.2", "--bad", "1.21", case], "Cilium 1.21 is too new"),
        (&["--good", "1.18.2", case], "--bad"),
        (&[case], "--good"),
        (&["--good", "1.18.2", "--bad", "1.19", "scenarios/devices/node-ip-overlay.yaml"], "4 cases are named"),
        (&["--good", "1.18.2", "--bad", "1.19", "--subject", "own-nick", "--expect", "works", case], "own-nic"),
        (&["--good", "1.18.2", "--bad", "1.19", "--subject", "own-nic", "--expect", "work", case], "`works`"),
        (&["--good", "1.18.2", "--bad", "1.19", "--expect", "works", case], "--subject"),
        (&["--good", "1.18.2", "--bad", "1.19", "--runs", "4-of-3", case], "2-of-5"),
        (&["--good", "1.18.2", "--bad", "1.19", "scenarios/devices/cilium-1.19.yaml::1.19/unset"], "names Cilium 1.19"),
        (&["--values", "no-such-file.yaml", "other.yaml", "--", case], "no-such-file.yaml"),
    ] {
        let output = underlay(&[&["bisect"], arguments].concat());
        assert_eq!(output.status.code(), Some(i32::from(exit::USAGE)), "{arguments:?}: {output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told), "{arguments:?} should tell of {told:?}:\n{error}");
    }
}
