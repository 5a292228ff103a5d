//! Real components: which image has them, and getting them while the user sees how far that is.

use std::io::{self, IsTerminal, Write};

use cilium::Version;
use image::{Cache, Error, Event, Origin, Root, Wanted};
use indicatif::{ProgressBar, ProgressStyle};

/// The official image of Cilium's agent (Cilium, install/kubernetes/cilium/values.yaml, `image.repository`).
pub fn cilium_image(version: &Version) -> String {
    format!("quay.io/cilium/cilium:v{version}")
}

/// An official image of etcd, the agents' store where there is no Kubernetes (etcd, its releases' notes).
pub const ETCD_IMAGE: &str = "gcr.io/etcd-development/etcd:v3.5.21";

/// Gets a component into the user's cache and tells on standard error how far it is.
///
/// Call it while the process is still in the network it was started in; it leaves no thread behind.
///
/// # Errors
/// As [`image::obtain`].
pub fn obtain(origin: Origin) -> Result<Root, Error> {
    let cache = match origin {
        // No cache is needed.
        Origin::Tree(_) => Cache::at(""),
        Origin::Registry(_) | Origin::File(_) => Cache::of_user()?,
    };
    let mut progress = Progress::new();
    let root = image::obtain(&Wanted::new(origin), &cache, &mut |event| progress.event(event));
    progress.end();
    root
}

/// A bar on a terminal, else a line for each layer.
struct Progress {
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    fn new() -> Self {
        Self { bar: io::stderr().is_terminal().then(ProgressBar::hidden), said: String::new() }
    }

    fn event(&mut self, event: &Event) {
        let text = match event {
            Event::Asking(what) => format!("asking for {what}"),
            Event::Waiting(what) => format!("another process unpacks {what}"),
            Event::Layer { number, of, done, size } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(size.unwrap_or(*done));
                    bar.set_position(*done);
                }
                let size = size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
                format!("layer {number} of {of}{size}")
            }
            Event::Unpacking { number, of } => format!("unpacking layer {number} of {of}"),
        };
        if self.said == text {
            return;
        }
        match &self.bar {
            Some(bar) => {
                if bar.is_hidden() {
                    let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {bytes}/{total_bytes}");
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                }
                bar.set_message(text.clone());
            }
            // Where nobody reads it there is nobody to tell.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
        self.said = text;
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A size as people read it: `812 B`, `1.4 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_short() {
        for (count, expected) in [
            (0, "0 B"),
            (812, "812 B"),
            (1400, "1.4 kB"),
            (999_600, "1.0 MB"),
            (250_000_000, "250 MB"),
            (5_000_000_000, "5.0 GB"),
        ] {
            assert_eq!(super::bytes(count), expected);
        }
    }
}
