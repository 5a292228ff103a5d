//! The picture as SVG, with a packet's way on it if there is one.

use std::borrow::Cow;

use indexmap::IndexSet;
use maud::{Markup, PreEscaped, html};

use super::{Area, Chip, ChipKind, Frame, FrameKind, Picture, TRANSIT, Wire};
use crate::report::schema::topology::Topology;
use crate::report::schema::walk::{Hop, Walk};

/// The picture's style, for whoever puts pictures into a page of its own.
pub const STYLE: &str = include_str!("picture.css");

/// A picture that is wider needs a page's whole width to be read.
const WIDE: i32 = 660;

/// Width of a letter of a title and of a detail, in tenths of a pixel: what is too long is cut.
const TITLE: i32 = 72;
const DETAIL: i32 = 59;

/// How far from a chip's right edge the number of a hop stands.
const STOP: i32 = 17;

/// A file of its own.
pub fn file(topology: &Topology) -> String {
    let picture = Picture::of(topology, &[]);
    let drawing = html! {
        svg xmlns="http://www.w3.org/2000/svg" class="pic" role="img" width=(picture.width) height=(picture.height)
            viewBox=(view(&picture)) {
            title { (clean(&format!("the network {}", topology.name))) }
            style { (PreEscaped(STYLE)) }
            rect width="100%" height="100%" fill="var(--p-bg)" {}
            (scenery(&picture))
        }
    };
    format!("{}\n", drawing.into_string())
}

/// The pictures of a page. What several have in common is in the page once.
#[derive(Debug, Default)]
pub struct Gallery {
    sceneries: IndexSet<String>,
}

impl Gallery {
    /// A picture, with a packet's way. `label` says in words what it shows.
    pub fn picture(&mut self, topology: &Topology, walk: Option<&Walk>, label: &str) -> Markup {
        let seen: Vec<_> = walk.iter().flat_map(|walk| places(topology, walk)).collect();
        let picture = Picture::of(topology, &seen.iter().map(|place| &**place).collect::<Vec<_>>());
        let (scenery, _) = self.sceneries.insert_full(scenery(&picture).into_string());
        html! {
            svg class=(if picture.width > WIDE { "pic wide" } else { "pic" }) role="img" aria-label=(clean(label))
                viewBox=(view(&picture)) width=(picture.width) {
                use href=(format!("#scenery-{scenery}")) {}
                @if let Some(walk) = walk { (way(topology, &picture, walk)) }
            }
        }
    }

    /// What the pictures have in common; belongs into the same page.
    pub fn common(&self) -> Markup {
        html! {
            svg class="pic" width="0" height="0" aria-hidden="true" focusable="false" {
                @for (index, scenery) in self.sceneries.iter().enumerate() {
                    g id=(format!("scenery-{index}")) { (PreEscaped(scenery)) }
                }
            }
        }
    }
}

/// Every place that a walk tells of, as the picture knows it.
fn places<'a>(topology: &Topology, walk: &'a Walk) -> Vec<Cow<'a, str>> {
    let back = walk.lost_answer();
    let hops = walk.hops.iter().chain(back.iter().flat_map(|back| &back.hops));
    let machines = |end: &'a str| Some(Cow::Borrowed(end)).filter(|end| end != TRANSIT);
    let ends = [Some(walk.end.at.as_str()), back.map(|back| back.end.at.as_str())].into_iter().flatten();
    hops.map(|hop| place(topology, hop)).chain(ends.filter_map(machines)).collect()
}

/// A hop's place. The internet is one place to a walk; the picture knows which of its hosts is meant, if one is.
fn place<'a>(topology: &Topology, hop: &'a Hop) -> Cow<'a, str> {
    if hop.at != TRANSIT {
        return Cow::Borrowed(&hop.at);
    }
    let carrier = hop.outer.as_ref().map_or((&hop.src, &hop.dst), |outer| (&outer.src, &outer.dst));
    let host = |endpoint: &String| {
        let address = endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(address, _)| address);
        let host = topology.internet.iter().find(|host| host.address == address)?;
        Some(Cow::Owned(format!("{TRANSIT}/{}", host.address)))
    };
    host(carrier.1).or_else(|| host(carrier.0)).unwrap_or(Cow::Borrowed(TRANSIT))
}

fn view(picture: &Picture) -> String {
    format!("0 0 {} {}", picture.width, picture.height)
}

fn scenery(picture: &Picture) -> Markup {
    let frames = |machines: bool| {
        let wanted = move |frame: &&Frame| (frame.kind == FrameKind::Machine) == machines;
        picture.frames.iter().filter(wanted)
    };
    html! {
        @for frame in frames(false) { (draw_frame(frame)) }
        @for wire in picture.wires.iter().filter(|wire| wire.behind) { (draw_wire(wire)) }
        @for frame in frames(true) { (draw_frame(frame)) }
        @for wire in picture.wires.iter().filter(|wire| !wire.behind) { (draw_wire(wire)) }
        @for chip in &picture.chips { (draw_chip(chip)) }
    }
}

fn draw_frame(frame: &Frame) -> Markup {
    let Area { x, y, w, h } = frame.area;
    let (class, radius) = match frame.kind {
        FrameKind::Internet => ("g-inet", 22),
        FrameKind::Vcn => ("g-net", 12),
        FrameKind::Machine => ("g-box", 8),
        FrameKind::Overlay => ("g-over", 17),
    };
    let (anchor, left, base) = match frame.kind {
        FrameKind::Overlay => ("middle", frame.area.centre(), y + h / 2 + 5),
        FrameKind::Machine => ("start", x + 22, y + 20),
        FrameKind::Internet | FrameKind::Vcn => ("start", x + 14, y + 20),
    };
    html! {
        rect class=(class) x=(x) y=(y) width=(w) height=(h) rx=(radius) {}
        text x=(left) y=(base) text-anchor=(anchor) {
            tspan class="g-name" { (cut(&frame.title, w * 6 / 10, TITLE)) }
            @if !frame.detail.is_empty() {
                tspan class="g-dim" dx="8" { (cut(&frame.detail, w * 6 / 10, DETAIL)) }
            }
        }
    }
}

fn draw_wire(wire: &Wire) -> Markup {
    let points: Vec<_> = wire.points.iter().map(|(x, y)| format!("{x},{y}")).collect();
    html! {
        polyline class=(if wire.overlay { "g-mesh" } else { "g-wire" }) points=(points.join(" ")) {}
        @if let Some((x, y, label)) = &wire.label {
            text class="g-dim" text-anchor="end" x=(x) y=(y) { (clean(label)) }
        }
    }
}

fn draw_chip(chip: &Chip) -> Markup {
    let Area { x, y, w, h } = chip.area;
    let (class, radius) = match chip.kind {
        ChipKind::Host | ChipKind::Interface | ChipKind::Gateway | ChipKind::Subnet => ("g-chip", 5),
        ChipKind::Down => ("g-down", 5),
        ChipKind::Overlay => ("g-tun", 5),
        ChipKind::Seen => ("g-seen", 5),
        ChipKind::Transit => ("g-seen", 13),
        ChipKind::Pod => ("g-pod", 15),
    };
    let room = w - 20;
    let base = if chip.detail.is_empty() { y + h / 2 + 4 } else { y + 17 };
    html! {
        g {
            title { (clean(&format!("{} {}", chip.place, chip.detail))) }
            rect class=(class) x=(x) y=(y) width=(w) height=(h) rx=(radius) {}
            text class="g-name" x=(x + 10) y=(base) { (cut(&chip.title, room, TITLE)) }
            @if !chip.detail.is_empty() {
                text class="g-dim" x=(x + 10) y=(y + 32) { (cut(&chip.detail, room, DETAIL)) }
            }
        }
    }
}

/// A hop's place in the picture.
#[derive(Clone)]
struct Stop<'a> {
    chip: &'a Chip,
    number: usize,
    guess: bool,
}

fn stops<'a>(topology: &Topology, picture: &'a Picture, hops: &[Hop], first: usize) -> Vec<Stop<'a>> {
    (first..)
        .zip(hops)
        .filter_map(|(number, hop)| {
            Some(Stop { chip: picture.chip(&place(topology, hop))?, number, guess: hop.inferred })
        })
        .collect()
}

fn way(topology: &Topology, picture: &Picture, walk: &Walk) -> Markup {
    let there = stops(topology, picture, &walk.hops, 1);
    let back =
        walk.lost_answer().map(|back| stops(topology, picture, &back.hops, walk.hops.len() + 1)).unwrap_or_default();
    let end = walk.last_end();
    let last = back.last().or(there.last());
    // Of the internet's hosts the one that the packet was seen at last is meant.
    let named = if end.at == TRANSIT { None } else { picture.chip(&end.at) };
    let grave = named.or(last.map(|last| last.chip));
    let dead = !walk.is_delivered();
    let beyond = last.zip(grave).filter(|(last, grave)| dead && last.chip.place != grave.place);
    // Each chip has one mark, with the numbers of all hops there.
    let mut marks: Vec<(&Chip, Vec<usize>, bool)> = Vec::new();
    for (stop, is_back) in there.iter().map(|stop| (stop, false)).chain(back.iter().map(|stop| (stop, true))) {
        match marks.iter_mut().find(|(chip, ..)| chip.place == stop.chip.place) {
            Some((_, numbers, _)) => numbers.push(stop.number),
            None => marks.push((stop.chip, vec![stop.number], is_back)),
        }
    }
    let lines = |stops: &[Stop<'_>], class: &str| -> Vec<(String, String)> {
        let pairs = stops.windows(2).filter(|pair| pair[0].chip.place != pair[1].chip.place);
        pairs
            .map(|pair| {
                let guess = if pair[0].guess || pair[1].guess { " g-guess" } else { "" };
                (line(picture, pair[0].chip, pair[1].chip), format!("g-way{class}{guess}"))
            })
            .collect()
    };
    let mut all = lines(&there, "");
    all.extend(lines(&back, " g-back"));
    if let Some((last, grave)) = beyond {
        all.push((line(picture, last.chip, grave), "g-way g-dead".to_owned()));
    }
    html! {
        @for (path, _) in &all { path class="g-halo" d=(path) {} }
        @for (path, class) in &all { path class=(class) d=(path) {} }
        @for (chip, numbers, is_back) in &marks {
            (mark(chip, numbers, match grave.filter(|grave| grave.place == chip.place) {
                Some(_) if dead => "g-stop g-dead",
                Some(_) => "g-stop g-good",
                None if *is_back => "g-stop g-back",
                None => "g-stop",
            }))
        }
        @if let Some(grave) = grave.filter(|_| dead) { (tomb(grave)) }
    }
}

/// From one chip's mark to another's.
fn line(picture: &Picture, from: &Chip, to: &Chip) -> String {
    let mark = |chip: &Chip| (chip.area.right() - STOP, chip.area.middle());
    let ((x1, y1), (x2, y2)) = (mark(from), mark(to));
    let both_on_overlay = from.kind == ChipKind::Overlay && to.kind == ChipKind::Overlay;
    match picture.band() {
        Some(band) if both_on_overlay => {
            let (y, turn) = (band.middle(), if x2 > x1 { 12 } else { -12 });
            format!("M{x1} {y1}V{}Q{x1} {y} {} {y}H{}Q{x2} {y} {x2} {}V{y2}", y - 12, x1 + turn, x2 - turn, y - 12)
        }
        _ if from.machine.is_some() && from.machine == to.machine => {
            // Past what lies between, out into the machine's margin.
            let bulge = if x1 == x2 { ((y2 - y1).abs() / 6).clamp(4, 26) } else { 0 };
            format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bulge, x2 + bulge)
        }
        _ => {
            let middle = (y1 + y2) / 2;
            format!("M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}")
        }
    }
}

/// The numbers of the hops at a chip: `2`, `3–4`, `2, 7`.
fn mark(chip: &Chip, numbers: &[usize], class: &str) -> Markup {
    let text = ranges(numbers);
    let width = 20 + (i32::try_from(text.chars().count()).unwrap_or(1) - 1) * 7;
    let (x, y) = (chip.area.right() - STOP, chip.area.middle());
    let left = x + 10 - width;
    html! {
        rect class=(class) x=(left) y=(y - 10) width=(width) height="20" rx="10" {}
        text class="g-number" x=(left + width / 2) y=(y + 4) { (text) }
    }
}

fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut().filter(|(_, last)| last + 1 == *number) {
            Some((_, last)) => *last = *number,
            None => runs.push((*number, *number)),
        }
    }
    let texts = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A red frame around the place where a packet died, and a cross at its corner.
fn tomb(chip: &Chip) -> Markup {
    let Area { x, y, w, h } = chip.area;
    let (right, top) = (x + w + 1, y - 1);
    html! {
        rect class="g-grave" x=(x - 2) y=(y - 2) width=(w + 4) height=(h + 4) rx="7" {}
        path class="g-halo" d=(format!("M{} {}l12 12m0 -12l-12 12", right - 6, top - 6)) {}
        path class="g-cross" d=(format!("M{} {}l12 12m0 -12l-12 12", right - 6, top - 6)) {}
    }
}

/// Text that fits into so many pixels.
fn cut(text: &str, room: i32, letter: i32) -> String {
    let text = clean(text);
    let fits = usize::try_from(room * 10 / letter).unwrap_or(1).max(2);
    match text.chars().count() > fits {
        true => text.chars().take(fits - 1).chain(['…']).collect(),
        false => text,
    }
}

/// Without what XML can't hold.
fn clean(text: &str) -> String {
    let is_text = |letter: &char| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}');
    text.chars().filter(is_text).collect()
}
