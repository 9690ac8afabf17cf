# Slack Events API → Camunda 7: POST /engine-rest/signal, signal `event`.
#
# The variable `event` holds the inner event as JSON text; token, team_id, api_app_id, type and event_id become String
# variables where Slack sends them. Slack may send an event again: `event_id` tells.
#
# Camunda keeps a String in 4000 characters and fails on more, and events with blocks or files are longer. So a longer
# event has type Json with the same text, which has no such limit but needs the engine's Spin plug-in (Camunda Run and
# the Tomcat and WildFly distributions have it). To have all events alike, write "Json" for both.

def text: {type: "String", value: tostring};

.json
| if type != "object" then error("an event is a JSON object") end
| {
    name: "event",
    variables: (
      {event: (.event | tojson | {type: (if length > 4000 then "Json" else "String" end), value: .})}
      + ({token, team_id, api_app_id, type, event_id} | with_entries(select(.value != null) | .value |= text))
    )
  }
