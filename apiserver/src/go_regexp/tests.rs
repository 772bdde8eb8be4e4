use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Pattern::parse(pattern).unwrap().compile().unwrap().is_match(text.as_bytes())
}

#[test]
fn what_means_something_else_in_go() {
    for (pattern, yes, no) in [
        (r"^\d+$", "12", "١٢"),
        (r"^\w+$", "a_1", "ä"),
        (r"\bb\b", "äbä", "abc"),
        (r"\Bb\B", "abc", "äbä"),
        (r"^[a&&b]+$", "a&b", "c"),
        (r"^[[a]+$", "[a", "b"),
        (r"^[^]a]+$", "b", "]"),
        (r"^a{,2}$", "a{,2}", "aa"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^\x{e4}\344$", "ää", "a"),
        (r"^a$", "a", "a\n"),
        (r"^.$", "ä", "\n"),
        (r"(?i)^ab(?s:.)c$", "AB\nC", "ab"),
        (r"^[\d\-x]+$", "1-x", "a"),
        (r"^[a-\x{10ffff}]$", "ä", "A"),
    ] {
        assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
    }
}

#[test]
fn patterns_are_told_from_other_texts() {
    let patterns = [
        "",
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "(?i)a(?:b)(?P<n>c)(?<m>d)",
        r"\d+\.\p{Greek}\pL\x41\x{1F600}",
        "a{2,}?",
        "a{x",
        "[]a]",
        "[^]]",
        "[[:alpha:]-]",
        r"[\w\-.]",
        "a*?b+?c??",
        "^*",
        r"\012\01",
        "[a-]",
        "[+--]",
        r"^\$\{.*\}$",
        "(a|)",
        "(?)",
    ];
    let others = [
        "(*)",
        "a|*",
        "(?<!a)",
        "a{1001}",
        "a{2,1}",
        r"\1",
        r"\y",
        "[b-a]",
        "[[:alfa:]]",
        "(?P<>a)",
        r"\x4",
        r"[\b]",
        r"\8",
        "a{2}{3}",
    ];
    for (texts, expected) in [(&patterns[..], true), (&others, false)] {
        for text in texts {
            assert_eq!(Pattern::parse(text).is_ok(), expected, "{text}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_in_gos_words() {
    for (pattern, why) in [
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("|*", "missing argument to repetition operator: `*`"),
        ("(a{1,100}){1,100}", "invalid repeat count: `{1,100}`"),
        ("[[:word2:]]", "invalid character class range: `[:word2:]`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        ("a\\", "trailing backslash at end of expression: ``"),
    ] {
        assert_eq!(Pattern::parse(pattern).unwrap_err(), format!("error parsing regexp: {why}"));
    }
}

#[test]
fn an_expression_has_its_limits() {
    let deep = format!("{}a{}", "(".repeat(101), ")".repeat(101));
    assert!(Pattern::parse(&deep).unwrap_err().contains(DEEP));
    assert!(Pattern::parse(&deep[1..202]).unwrap().compile().is_ok());
    assert!(Pattern::parse(r"\p{L}{1,1000}").unwrap_err().contains(LARGE));
    assert!(Pattern::parse(r"\p{L}{1,100}").unwrap().compile().is_ok());
}

#[test]
fn the_crate_knows_what_is_known_here() {
    let unknown = |name: &&str| {
        let pattern = Pattern::parse(&format!("\\p{{{name}}}"));
        !pattern.is_ok_and(|pattern| pattern.compile().is_ok())
    };
    let unknown: Vec<&str> = class::PROPERTIES.split(' ').filter(unknown).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}
