//! The string form of label selectors.

use super::{Operator, Requirement};
use crate::field::quote;
use crate::names;
use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

const SYMBOLS: [(&str, Token); 11] = [
    (")", Token::Close),
    (",", Token::Comma),
    ("!", Token::Not),
    ("==", Token::DoubleEquals),
    ("=", Token::Equals),
    (">", Token::Greater),
    ("in", Token::In),
    ("<", Token::Less),
    ("!=", Token::NotEquals),
    ("notin", Token::NotIn),
    ("(", Token::Open),
];

pub(super) struct Parser<'a> {
    rest: &'a str,
    /// The token that was looked at and not yet consumed.
    ahead: Option<(Token, Cow<'a, str>)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Parser<'a> {
        Parser { rest: text, ahead: None }
    }

    fn lex(&mut self) -> (Token, Cow<'a, str>) {
        const SPECIAL: &[char] = &['=', '!', '(', ')', ',', '>', '<'];
        const WHITE: &[char] = &[' ', '\t', '\r', '\n'];
        self.rest = self.rest.trim_start_matches(WHITE);
        if self.rest.is_empty() {
            return (Token::End, "".into());
        }
        if !self.rest.starts_with(SPECIAL) {
            let end = self.rest.find(|c| SPECIAL.contains(&c) || WHITE.contains(&c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            let token = SYMBOLS.iter().find(|s| s.0 == word).map_or(Token::Identifier, |s| s.1);
            return (token, word.into());
        }
        // The longest run of special characters that is a symbol.
        let one = SYMBOLS.iter().filter(|s| self.rest.starts_with(s.0)).max_by_key(|s| s.0.len());
        match one {
            Some((text, token)) => {
                self.rest = &self.rest[text.len()..];
                (*token, (*text).into())
            }
            None => {
                let end = self.rest.find(|c| !SPECIAL.contains(&c)).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                (Token::Error, format!("error expected: keyword found '{word}'").into())
            }
        }
    }

    /// The next token, without consuming it. `in` and `notin` are words where a value may stand.
    fn look(&mut self) -> (Token, Cow<'a, str>) {
        let (token, text) = self.next_operator();
        self.ahead = Some((token, text.clone()));
        (as_value(token), text)
    }

    fn next(&mut self) -> (Token, Cow<'a, str>) {
        let (token, text) = self.next_operator();
        (as_value(token), text)
    }

    fn next_operator(&mut self) -> (Token, Cow<'a, str>) {
        self.ahead.take().unwrap_or_else(|| self.lex())
    }

    pub(super) fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.look() {
                (Token::Identifier | Token::Not, _) => {
                    let one = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
                    requirements.push(one);
                    match self.next() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => match self.look() {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, text) => return Err(format!("found '{text}', expected: identifier after ','")),
                        },
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = names::qualified_name(&key);
        if !wrong.is_empty() {
            return Err(format!("<nil>: Invalid value: {}: {}", quote(&key), wrong.join("; ")));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.look().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = match self.next_operator() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, text) => return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        match self.look() {
            (Token::End | Token::Comma, _) => Ok(String::new()),
            (Token::Identifier, text) => {
                self.next();
                Ok(text.into_owned())
            }
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            (Token::Open, _) => {}
            (_, text) => return Err(format!("found '{text}' expected: '('")),
        }
        match self.look() {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.identifiers()?;
                self.next();
                Ok(values)
            }
            (Token::Close, _) => {
                self.next();
                Ok(vec![String::new()])
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// The values up to the closing parenthesis, which stays ahead.
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    values.push(text.into_owned());
                    match self.look() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let after = self.look().0;
                    if values.is_empty() || matches!(after, Token::Close | Token::Comma) {
                        values.push(String::new());
                    }
                    if after == Token::Close {
                        return Ok(values);
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}

fn as_value(token: Token) -> Token {
    if matches!(token, Token::In | Token::NotIn) { Token::Identifier } else { token }
}
