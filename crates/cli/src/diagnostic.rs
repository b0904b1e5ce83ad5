//! Shows what is wrong with a file as a compiler does: the line, the place in it, and the fix.

use muster_spec::Defect;

/// The width that lines are broken at.
const WIDTH: usize = 80;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted.
    Warning,
}

/// One defect of a file with this text, in lines of at most 80 columns (a file's name aside).
pub(crate) fn render(file: &str, text: &str, severity: Severity, defect: &Defect) -> String {
    let word = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let colon = if defect.field.is_empty() { "" } else { ": " };
    let head = format!("{word}: {}{colon}{}", defect.field, defect.problem);
    let mut out = wrap(&clean(&head), "", "  ");
    let number = defect.line.to_string();
    let margin = " ".repeat(number.len());
    out.push_str(&format!("{margin}--> {}:{}:{}\n", clean(file), defect.line, defect.column));
    let line = text.split('\n').nth(defect.line.saturating_sub(1));
    // A file that could not be read has no lines.
    if let Some(line) = line.filter(|_| !text.is_empty()) {
        let room = WIDTH.saturating_sub(margin.len() + 3);
        let (shown, at) = window(line.trim_end(), defect.column.saturating_sub(1), room);
        let width = token(&shown, at);
        out.push_str(&format!("{margin} |\n{number} | {shown}\n{margin} | "));
        out.push_str(&format!("{}{}\n", " ".repeat(at), "^".repeat(width)));
    }
    let fix = format!("fix: {}", defect.fix);
    out.push_str(&wrap(&clean(&fix), &format!("{margin} = "), &format!("{margin}   ")));
    out
}

/// Text without anything that would move a terminal's cursor or hide what stands there.
pub(crate) fn clean(text: &str) -> String {
    let hidden = |letter: char| {
        letter.is_control()
            || matches!(u32::from(letter), 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF)
    };
    text.chars()
        .map(|letter| match letter {
            '\t' => ' ',
            letter if hidden(letter) => '\u{FFFD}',
            letter => letter,
        })
        .collect()
}

/// The part of a line around a column, at most `room` wide, and where that column is in it.
fn window(line: &str, column: usize, room: usize) -> (String, usize) {
    let letters: Vec<char> = clean(line).chars().collect();
    if letters.len() <= room {
        return (letters.iter().collect(), column.min(letters.len()));
    }
    let inner = room.saturating_sub(2);
    let start = column.saturating_sub(inner / 2).min(letters.len().saturating_sub(inner));
    let end = (start + inner).min(letters.len());
    let mut shown: String = if start > 0 { "…" } else { "" }.to_owned();
    let at = column.saturating_sub(start).min(inner) + shown.chars().count();
    shown.extend(&letters[start..end]);
    if end < letters.len() {
        shown.push('…');
    }
    (shown, at)
}

/// How wide the word at a column is, at least 1.
fn token(line: &str, at: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(at).collect();
    let quote = rest.first().copied().filter(|first| matches!(first, '"' | '\''));
    let width = match quote {
        Some(quote) => rest.iter().skip(1).position(|letter| *letter == quote).map(|end| end + 2),
        None => rest.iter().position(|letter| letter.is_whitespace() || *letter == ':'),
    };
    width.unwrap_or(rest.len()).max(1)
}

/// Words broken into lines: `first` before the first one, `next` before the others.
pub(crate) fn wrap(text: &str, first: &str, next: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let space = usize::from(!empty);
        if line.chars().count() + space + word.len() > WIDTH && !empty {
            out.push_str(line.trim_end());
            out.push('\n');
            line = next.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        // A word that is wider than a line is broken where the line ends.
        while line.chars().count() + word.len() > WIDTH {
            let rest = word.split_off(WIDTH.saturating_sub(line.chars().count()).max(1));
            line.extend(&word);
            out.push_str(&line);
            out.push('\n');
            line = next.to_owned();
            word = rest;
        }
        line.extend(&word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defect(line: usize, column: usize, problem: &str, fix: &str) -> Defect {
        let (field, problem, fix) = ("services.web".to_owned(), problem.to_owned(), fix.to_owned());
        Defect { line, column, field, problem, fix }
    }

    #[test]
    fn a_defect_shows_its_line_its_place_and_its_fix() {
        let text = "services:\n  web:\n    imge: nginx\n";
        let one = defect(3, 5, "unknown field", "write image");
        assert_eq!(
            render("a.yaml", text, Severity::Error, &one),
            "error: services.web: unknown field\n \
             --> a.yaml:3:5\n  \
              |\n\
             3 |     imge: nginx\n  \
              |     ^^^^\n  \
              = fix: write image\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_80_columns_and_nothing_in_it_moves_the_cursor() {
        let long = "x".repeat(300);
        let texts = [
            format!("key: {long}"),
            format!("\u{1b}[2J{long}\u{202e}"),
            long.clone(),
            String::new(),
            "ä \t ö".repeat(60),
        ];
        for text in &texts {
            for column in [1, 2, 40, 79, 80, 81, 200, 310, 1000] {
                let one =
                    defect(1, column, &long, &format!("write {long} or {}", "a b ".repeat(50)));
                let shown = render("a.yaml", text, Severity::Warning, &one);
                for line in shown.lines() {
                    assert!(line.chars().count() <= 80, "{line}");
                    assert!(!line.contains(['\u{1b}', '\u{202e}', '\t']), "{line:?}");
                }
                assert_eq!(shown.contains('^'), !text.is_empty(), "{shown}");
            }
        }
    }
}
