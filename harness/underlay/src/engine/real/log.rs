//! What agents write to their logs.

/// What an agent logs where it can't write its iptables rules (Cilium 1.18, pkg/datapath/iptables/iptables.go). It goes on
/// without, and pods aren't masqueraded then.
const NOT_RECONCILED: &str = "iptables rules full reconciliation failed";

/// Why what is seen of packets of this agent's node can't be trusted.
pub fn doubt(node: &str, lines: &[String]) -> Option<String> {
    let failed = lines.iter().any(|line| line.contains(NOT_RECONCILED));
    failed.then(|| format!("the agent on {node} couldn't write its iptables rules"))
}

/// What an agent died of: the error of its last fatal or erroneous line, without the log's own words.
pub fn last_words(lines: &[String]) -> String {
    let about = |level: &str| lines.iter().rev().find(|line| line.contains(&format!("level={level}")));
    let line = about("fatal").or_else(|| about("error")).or_else(|| lines.last());
    let Some(line) = line else { return "it said nothing".to_owned() };
    match (field(line, "msg"), field(line, "error")) {
        (_, Some(error)) => error,
        (Some(message), None) => message,
        (None, None) => line.clone(),
    }
}

/// A field of a logfmt line.
fn field(line: &str, name: &str) -> Option<String> {
    let start = line.find(&format!(" {name}="))? + name.len() + 2;
    let rest = &line[start..];
    let Some(quoted) = rest.strip_prefix('"') else {
        return Some(rest.split(' ').next().unwrap_or_default().to_owned());
    };
    let mut text = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => text.extend(letters.next()),
            other => text.push(other),
        }
    }
    Some(text)
}
