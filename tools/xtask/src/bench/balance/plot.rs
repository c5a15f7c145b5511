//! Lines over seconds as SVG, one panel below the other. No more than a report needs.

use std::fmt::Write as _;

/// One way, one value for each second.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<f64>,
}

/// One measure; values beyond its range are drawn at its edge.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    pub(super) lines: Vec<Line>,
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 60.0;
const PLOT_WIDTH: f64 = 600.0;
const PLOT_HEIGHT: f64 = 220.0;
const PANEL_HEIGHT: f64 = 290.0;
const TOP: f64 = 70.0;
const GRID: u32 = 5;

/// Colours that people with any colour sight can tell apart (Okabe and Ito, 2008), with a dash each
/// so that print can too.
const STYLES: [(&str, &str); 6] = [
    ("#999999", "2 2"),
    ("#d55e00", "none"),
    ("#e69f00", "6 3"),
    ("#0072b2", "none"),
    ("#cc79a7", "8 2 2 2"),
    ("#009e73", "4 4"),
];

/// The whole picture.
pub(super) fn draw(title: &str, panels: &[Panel]) -> String {
    let height = PANEL_HEIGHT.mul_add(panels.len() as f64, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let mut top = TOP;
    for panel in panels {
        panel.draw(top, &mut svg);
        top += PANEL_HEIGHT;
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, top: f64, svg: &mut String) {
        text(svg, (LEFT, top - 12.0), "start", self.title);
        for step in 0..=GRID {
            let part = f64::from(step) / f64::from(GRID);
            let value = part.mul_add(self.highest - self.lowest, self.lowest);
            let y = self.y(top, value);
            line(svg, &[(LEFT, y), (LEFT + PLOT_WIDTH, y)], "#dddddd", "none");
            text(svg, (LEFT - 8.0, y + 4.0), "end", &format!("{value}"));
        }
        let seconds = self.lines.iter().map(|it| it.points.len()).max().unwrap_or(0);
        let x = |second: usize| LEFT + PLOT_WIDTH * second as f64 / seconds.max(1) as f64;
        for second in (0..=seconds).step_by(15) {
            text(svg, (x(second), top + PLOT_HEIGHT + 18.0), "middle", &format!("{second} s"));
        }
        for (index, (way, (colour, dash))) in self.lines.iter().zip(STYLES).enumerate() {
            let points: Vec<(f64, f64)> = way
                .points
                .iter()
                .enumerate()
                .map(|(second, value)| (x(second), self.y(top, *value)))
                .collect();
            line(svg, &points, colour, dash);
            let y = 18.0_f64.mul_add(index as f64, top + 12.0);
            let key = LEFT + PLOT_WIDTH + 16.0;
            line(svg, &[(key, y - 4.0), (key + 26.0, y - 4.0)], colour, dash);
            text(svg, (key + 32.0, y), "start", way.name);
        }
    }

    fn y(&self, top: f64, value: f64) -> f64 {
        let part =
            (value.clamp(self.lowest, self.highest) - self.lowest) / (self.highest - self.lowest);
        PLOT_HEIGHT.mul_add(1.0 - part, top)
    }
}

fn line(svg: &mut String, points: &[(f64, f64)], colour: &str, dash: &str) {
    let mut path = String::new();
    for (x, y) in points {
        // Writing to a string cannot fail.
        write!(path, "{x:.1},{y:.1} ").ok();
    }
    let path = path.trim_end();
    writeln!(
        svg,
        "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" \
         stroke-dasharray=\"{dash}\"/>"
    )
    .ok();
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_the_range_is_drawn_at_its_edge() {
        let panel = Panel {
            title: "t",
            lowest: 90.0,
            highest: 100.0,
            lines: vec![Line { name: "one", points: vec![0.0, 95.0, 200.0] }],
        };
        let svg = draw("whole", &[panel]);
        assert!(svg.contains("points=\"60.0,290.0 260.0,180.0 460.0,70.0\""), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
