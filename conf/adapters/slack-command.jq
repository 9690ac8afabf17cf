# Slack slash command → Camunda 7: POST /engine-rest/signal, signal `slackCommand`.
#
# Slack sends a form. Each field (text, user_id, channel_id, response_url, …) becomes a String variable of that name,
# one that is there twice as a JSON array of its values. Processes that wait for the signal start with them.
#
# Camunda keeps a String in 4000 characters and fails on more. A longer command is refused here with status 422, and
# Slack tells its user that the command failed; recorded, it would only become a dead letter later.

def text:
  tostring
  | if length > 4000 then error("a field is longer than 4000 characters") end
  | {type: "String", value: .};

.form
| if . == null then error("a slash command is a form") end
| {name: "slackCommand", variables: map_values(text)}
