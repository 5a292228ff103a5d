//! The same as a picture: milliseconds over nodes, both logarithmic.

use std::path::Path;

use plotters::prelude::*;

use crate::Row;

const SIZE: (u32, u32) = (720, 420);
/// Colours that people who see few can tell apart (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(90, 90, 90),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Draws an SVG.
///
/// # Errors
/// The file can't be written; nothing was measured.
pub fn draw(rows: &[Row], file: &Path) -> std::io::Result<()> {
    lines(rows, file).map_err(|error| std::io::Error::other(format!("{}: {error}", file.display())))
}

fn lines(rows: &[Row], file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let series: Vec<_> = rows.iter().map(|row| (row.tool.name.replace('`', ""), points(row))).collect();
    let all: Vec<_> = series.iter().flat_map(|(_, points)| points.iter().copied()).collect();
    let (Some(x), Some(y)) = (span(all.iter().map(|point| point.0)), span(all.iter().map(|point| point.1))) else {
        return Err("nothing was measured".into());
    };
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        // Room for the names below the lines.
        .build_cartesian_2d((x.0 * 0.9..x.1 * 1.1).log_scale(), (y.0 * 0.07..y.1 * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("nodes")
        .y_desc("ms to build a star (median)")
        .x_label_formatter(&|nodes| format!("{nodes:.0}"))
        .y_label_formatter(&|ms| format!("{ms:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for ((name, points), colour) in series.into_iter().zip(COLOURS.into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Nodes and milliseconds.
fn points(row: &Row) -> Vec<(f64, f64)> {
    let point = |nodes: usize| Some((nodes as f64, row.build(nodes)?.as_secs_f64() * 1000.0));
    row.cells.iter().filter_map(|cell| point(cell.nodes)).collect()
}

fn span(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    Some((values.clone().reduce(f64::min)?, values.reduce(f64::max)?))
}
