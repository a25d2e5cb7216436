// The API's page: swagger-ui over this gateway's own schema.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";

SwaggerUI({ url: "/openapi.json", dom_id: "#root", deepLinking: true, validatorUrl: null, docExpansion: "none", defaultModelsExpandDepth: 0 });
