//! The film: well-formed, small enough, and free of what it should not hold.

mod story;

use std::time::Duration;

use vernam::demo::{
    model::Model,
    picture::{Film, LARGEST},
};

fn film() -> String {
    let mut model = Model::default();
    let mut film = Film::default();
    for stamped in story::story() {
        while model.now + Duration::from_millis(100) < stamped.at {
            model.tick(model.now + Duration::from_millis(100));
            film.film(&model);
        }
        model.apply(&stamped);
        film.film(&model);
    }
    film.svg()
}

#[test]
fn the_film_is_small_well_formed_and_moves() {
    let svg = film();
    if let Some(path) = std::env::var_os("FILM") {
        std::fs::write(path, &svg).expect("FILM names a file that can be written");
    }
    assert!(svg.len() <= LARGEST, "{} bytes", svg.len());
    assert!(svg.contains("<animateTransform"), "nothing moves");
    assert!(!svg.contains("<script"));
    well_formed(&svg);
}

#[test]
fn every_size_and_moment_is_well_formed() {
    for (columns, rows) in [(20, 5), (60, 17), (80, 24), (120, 40), (200, 60)] {
        for seconds in [0.0, 1.5, 4.2, story::MID_FILE, story::IN_AES, story::IN_ALARM, story::END] {
            let mut film = Film::sized(columns, rows);
            film.film(&story::model_at(seconds));
            let svg = film.svg();
            well_formed(&svg);
            if let Some(folder) = std::env::var_os("STILLS") {
                let path = std::path::Path::new(&folder).join(format!("{columns}x{rows}-{seconds:.0}.svg"));
                std::fs::write(path, svg).expect("STILLS names a folder that can be written");
            }
        }
    }
}

#[test]
fn a_film_of_nothing_is_empty() {
    assert_eq!(Film::default().svg(), "");
}

/// Elements nest and close, attributes are quoted, and no ampersand stands alone: what an XML parser needs.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(begin) = rest.find('<') {
        entities(&rest[..begin]);
        let end = rest[begin..].find('>').expect("every tag ends") + begin;
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        assert!(tag.matches('"').count().is_multiple_of(2), "a quote is open in <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "wrong closing tag");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap_or_default().to_owned());
        }
    }
    assert!(open.is_empty(), "still open: {open:?}");
}

fn entities(text: &str) {
    for (at, _) in text.match_indices('&') {
        let known = ["&lt;", "&gt;", "&amp;"].iter().any(|entity| text[at..].starts_with(entity));
        assert!(known, "a lone & in {text}");
    }
}
