/* SPDX-License-Identifier: Apache-2.0 */
/* The report of scan or lint as SARIF 2.1.0, as code hosts and CI systems show it. */
#include "validate/val_scan_int.h"

#include <stdlib.h>
#include <string.h>

static const char *
text_of(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(v) ? v->valuestring : "";
}

static void
put_message(cJSON *o, const char *key, const char *text)
{
    json_put_str(cJSON_AddObjectToObject(o, key), "text", text);
}

static void
put_rules(cJSON *driver, const struct scan_rule *v, int n)
{
    cJSON *rules = cJSON_AddArrayToObject(driver, "rules");
    for (int i = 0; i < n; i++) {
        cJSON *rule = cJSON_CreateObject();
        json_put_str(rule, "id", v[i].id);
        put_message(rule, "shortDescription", v[i].title);
        put_message(rule, "help", v[i].fix);
        cJSON_AddItemToArray(rules, rule);
    }
}

static void
put_location(cJSON *result, const cJSON *finding, const char *uri, const char *model)
{
    const char *file = text_of(finding, "file"), *node = text_of(finding, "node");
    const char *function = text_of(finding, "function");
    cJSON *location = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(result, "locations"), location);
    char *path AUTO(free_ptr) = xasprintf("%s/%s", uri, file[0] ? file : model);
    cJSON *physical = cJSON_AddObjectToObject(location, "physicalLocation");
    json_put_str(cJSON_AddObjectToObject(physical, "artifactLocation"), "uri", path);
    if (!node[0] && !function[0])
        return;
    char *full AUTO(free_ptr) =
        xasprintf("%s%s%s", function, function[0] && node[0] ? "/" : "", node);
    cJSON *logical = cJSON_CreateObject();
    json_put_str(logical, "fullyQualifiedName", full);
    json_put_str(logical, "kind", node[0] ? "element" : "function");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(location, "logicalLocations"), logical);
}

/* Severities are SARIF's levels, but for lint's advice. */
static const char *
level(const char *severity)
{
    return strcmp(severity, "advice") == 0 ? "note" : severity;
}

cJSON *
scan_sarif(const cJSON *report, const char *uri, const char *tool, const char *key,
           const struct scan_rule *rules, int n_rules)
{
    cJSON *log = cJSON_CreateObject(), *run = cJSON_CreateObject();
    json_put_str(log, "$schema", "https://json.schemastore.org/sarif-2.1.0.json");
    json_put_str(log, "version", "2.1.0");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(log, "runs"), run);
    cJSON *driver =
        cJSON_AddObjectToObject(cJSON_AddObjectToObject(run, "tool"), "driver");
    json_put_str(driver, "name", tool);
    json_put_str(driver, "version", SLUICE_VERSION);
    put_rules(driver, rules, n_rules);
    cJSON *results = cJSON_AddArrayToObject(run, "results");
    const char *model = text_of(report, "model_file");
    const cJSON *findings = cJSON_GetObjectItemCaseSensitive(report, "findings");
    for (const cJSON *f = findings ? findings->child : NULL; f; f = f->next) {
        cJSON *result = cJSON_CreateObject();
        json_put_str(result, "ruleId", text_of(f, key));
        json_put_str(result, "level", level(text_of(f, "severity")));
        const char *op = text_of(f, "op");
        char *text AUTO(free_ptr) =
            xasprintf("%s%s%s", op, op[0] ? ": " : "", text_of(f, "message"));
        put_message(result, "message", text);
        put_location(result, f, uri, model);
        cJSON_AddItemToArray(results, result);
    }
    return log;
}

cJSON *
val_scan_sarif(const cJSON *report, const char *uri)
{
    return scan_sarif(report, uri, "sluice scan", "class", scan_classes,
                      SCAN_N_CLASSES);
}
