//! RFC 9113 section 5.1: what may come in which state of a stream.

use crate::stage::{
    Case, Expected::*, PROTOCOL_ERROR, STREAM_CLOSED, Step, case, hold, last, open, post,
};
use evenkeel_testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE,
    block, frame, get,
};

/// The library ends the connection where it could end the stream alone, and then says
/// PROTOCOL_ERROR of some.
const CLOSED: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];
const NO_ERROR: [u8; 4] = [0; 4];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

#[test]
fn frames_on_idle_streams() {
    hold(&[
        case("DATA", &[&last(1)], Ends(&[PROTOCOL_ERROR])),
        case("RST_STREAM", &[&frame(RST_STREAM, 0, 1, &CANCEL)], Ends(&[PROTOCOL_ERROR])),
        case(
            "WINDOW_UPDATE",
            &[&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case(
            "CONTINUATION",
            &[&frame(CONTINUATION, END_HEADERS, 1, &block(&get(&[])))],
            Ends(&[PROTOCOL_ERROR]),
        ),
        case("PRIORITY is legal", &[&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255])], Lives),
        case(
            "PRIORITY of a stream above, then a request below",
            &[&frame(PRIORITY, 0, 7, &[0, 0, 0, 0, 255]), &open(1)],
            Answered(1),
        ),
    ]);
}

#[test]
fn frames_on_streams_that_the_client_has_ended() {
    let more = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    let continuation = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    hold(&[
        case("DATA", &[&open(1), &last(1)], Resets(1, CLOSED)),
        case("HEADERS", &[&open(1), &more], Resets(1, CLOSED)),
        case("CONTINUATION", &[&open(1), &continuation], Ends(CLOSED)),
        case(
            "WINDOW_UPDATE is legal",
            &[&open(1), &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
            Answered(1),
        ),
        case(
            "PRIORITY is legal",
            &[&open(1), &frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255])],
            Answered(1),
        ),
        case("RST_STREAM is legal", &[&open(1), &frame(RST_STREAM, 0, 1, &CANCEL)], Lives),
    ]);
}

#[test]
fn frames_on_streams_that_the_client_has_reset() {
    let reset = frame(RST_STREAM, 0, 1, &CANCEL);
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    let continuation = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    hold(&[
        case("DATA", &[&post(1), &reset, &last(1)], Resets(1, CLOSED)),
        case("HEADERS", &[&post(1), &reset, &trailers], Resets(1, CLOSED)),
        case("CONTINUATION", &[&post(1), &reset, &continuation], Ends(CLOSED)),
        case("NO_ERROR is a reset too", &[&post(1), &frame(RST_STREAM, 0, 1, &NO_ERROR)], Lives),
    ]);
}

/// After both sides have said all.
fn closed(rule: &'static str, then: Vec<u8>, expected: crate::stage::Expected) -> Case {
    (rule, vec![Step::Send(open(1)), Step::Await(1), Step::Send(then)], expected)
}

#[test]
fn frames_on_closed_streams() {
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    let continuation = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x-trailer", "a")]));
    hold(&[
        closed("DATA", last(1), Resets(1, CLOSED)),
        closed("HEADERS", trailers, Ends(CLOSED)),
        closed("CONTINUATION", continuation, Ends(CLOSED)),
        closed("PRIORITY is legal", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), Lives),
        closed("WINDOW_UPDATE is legal", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]), Lives),
        closed("RST_STREAM is legal", frame(RST_STREAM, 0, 1, &CANCEL), Lives),
        closed("its number again", open(1), Ends(CLOSED)),
    ]);
}

#[test]
fn a_body_that_goes_on_after_its_end() {
    let again = [post(1), last(1), frame(DATA, END_STREAM, 1, b"more")].concat();
    hold(&[case("6.1 DATA after END_STREAM", &[&again], Resets(1, CLOSED))]);
}
