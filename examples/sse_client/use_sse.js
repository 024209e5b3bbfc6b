// A React hook: a component follows a stream for as long as it is shown.
//
//   function Board() {
//     const [notes, setNotes] = useState([]);
//     const { connected } = useSSE("/api/sse", { channels: ["board"] }, {
//       note: (event) => setNotes((before) => [...before, event.json().text]),
//       "h3py:reset": () => reload(),
//     });
//     return <ul className={connected ? "live" : "away"}>{notes.map((n) => <li>{n}</li>)}</ul>;
//   }
//
// - Handlers may be written in place, new ones at every rendering: the stream stays, and the newest
//   are called.
// - It connects anew only when the url or an option has another value; functions (a token's) may be
//   new every time too. An object that is written anew with the same values is the same.
// - Leaving closes it. In strict mode React tries an effect out, so a stream is opened, closed and
//   opened again there: that is right. Components that ask for the same stream share a connection.

import { useEffect, useRef, useState } from "react";
import { connect } from "/api/sse/client.js";

export function useSSE(url, options = {}, handlers = {}) {
  const [state, setState] = useState({ status: "connecting", clientId: null, error: null });
  const newest = useRef({ options, handlers });
  useEffect(() => {
    newest.current = { options, handlers };
  });

  useEffect(() => {
    const asked = (name) => async () => {
      const given = newest.current.options[name];
      return typeof given === "function" ? given() : given;
    };
    const sse = connect(url, { ...options, headers: asked("headers"), token: asked("token") });
    const show = (error = null) =>
      setState({ status: sse.status, clientId: sse.clientId, error });
    sse.onstatus = (status, error) => show(error);
    sse.addHandler("h3py:hello", () => show());
    sse.addHandler("*", (event) => {
      for (const name of [event.type, "*"]) {
        const { handlers } = newest.current;
        if (Object.hasOwn(handlers, name)) handlers[name](event);
      }
    });
    show();
    return () => {
      sse.onstatus = null; // nobody is there to be told
      sse.close();
    };
  }, [url, JSON.stringify(options)]);

  return { ...state, connected: state.status === "open" };
}
