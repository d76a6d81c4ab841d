//! What is said when a peer comes or goes: greetings that are sent, and notes that are received as if the
//! peer had sent them. Options of the socket ([`Notes`](crate::config::Notes)), the same for every type.
//!
//! A greeting goes before everything else: over a connection among the control frames that precede the
//! first message, over inproc into the pipe before the socket has its end. A note goes into the pipe that
//! the socket reads, behind what the peer had sent.

use bytes::BytesMut;

use super::drops::DropCause;
use super::port::Port;
use crate::frame;
use crate::message::Message;
use crate::pipe::Writer;

impl Port {
    /// What a new peer is sent before anything else.
    fn greetings(&self) -> impl Iterator<Item = Message> {
        let notes = &self.settings().config.notes;
        let probe = notes.probe.then(Message::default);
        notes.hello.clone().into_iter().chain(probe)
    }

    /// Appends the greetings as frames.
    pub(super) fn greet_with_frames(&self, out: &mut BytesMut) {
        for message in self.greetings() {
            let last = message.frame_count() - 1;
            for (index, body) in message.frames().iter().enumerate() {
                let (header, len) = frame::header(index < last, false, body.len());
                out.extend_from_slice(&header[..len]);
                out.extend_from_slice(body);
            }
        }
    }

    /// Writes the greetings to a pipe.
    pub(super) fn greet(&self, writer: &mut Writer) {
        for message in self.greetings() {
            writer.append_message(&message);
            writer.publish_and_signal();
        }
    }

    /// What is received first from a peer that has come.
    pub(super) fn note_arrival(&self, writer: &mut Writer) {
        if self.settings().config.notes.notify_connect {
            self.note(writer, &Message::default(), false);
        }
    }

    /// What is received last from a peer that is lost, and had connected to this side (`accepted`) or been
    /// connected to. A connection that comes and goes all the time fills its pipe at most; what ends a pipe (`ends`) comes
    /// on top of its limit, for nobody could tell otherwise that the peer is gone.
    pub(super) fn note_loss(&self, writer: &mut Writer, accepted: bool, ends: bool) {
        if self.settings().config.notes.notify_disconnect {
            self.note(writer, &Message::default(), ends);
        }
        if let Some(message) = self.last_words(accepted) {
            self.note(writer, &message, ends);
        }
    }

    /// The message that is received when a peer is lost.
    pub(super) fn last_words(&self, accepted: bool) -> Option<Message> {
        let notes = &self.settings().config.notes;
        match accepted {
            true => notes.disconnect.clone(),
            false => notes.hiccup.clone(),
        }
    }

    fn note(&self, writer: &mut Writer, message: &Message, anyway: bool) {
        if anyway || writer.has_credit() {
            writer.append_message(message);
            writer.publish_and_signal();
        } else {
            writer.note_refused();
            self.dropped(DropCause::Full, 1);
        }
    }
}
