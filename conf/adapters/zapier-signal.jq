# Zapier → Camunda 7: POST /engine-rest/signal and /engine-rest/message.
#
# Zaps send plain values; Camunda wants {"type": …, "value": …}. In `variables`, `processVariables` and
# `correlationKeys` texts, numbers and booleans become type String (5 becomes "5", as the engine itself would do),
# null becomes type Null, and objects and arrays become type Json, which needs the engine's Spin plug-in (Camunda Run
# and the Tomcat and WildFly distributions have it). All other keys pass as they are.
#
# Camunda keeps a String in 4000 characters and fails on more. A longer text is refused here with status 422, so that
# the Zap's history names the variable.

def typed($name):
  if . == null then {type: "Null", value: null}
  elif type == "object" or type == "array" then {type: "Json", value: tojson}
  else
    tostring
    | if length > 4000 then error("\($name) is longer than 4000 characters") end
    | {type: "String", value: .}
  end;

.json
| if type != "object" then error("the body must be a JSON object") end
| reduce ("variables", "processVariables", "correlationKeys") as $key (.;
    if .[$key] == null then .
    elif .[$key] | type != "object" then error("\($key) must be an object")
    else .[$key] |= with_entries("\($key).\(.key)" as $name | .value |= typed($name))
    end)
